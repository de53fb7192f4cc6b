"""roles that may call."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# What releases before call stays.
compatible_from = "0001"


# The functions that the login called by itself until now. It enters testorchestrator_gate to call them; revision 0007
# takes them from the login, when the release before has gone.
CALLED_BY_THE_GATE = (
    "authenticate_key(bytea)",
    "touch_key(bigint)",
    "find_workspace(text, bigint, text)",
    "admit_sign_in(bigint, bytea)",
    "forget_sign_ins(bigint, bytea)",
    "list_own_keys(bigint, bigint, text)",
    "create_own_key(bigint, bigint, text, text, text, bytea, timestamp with time zone)",
    "revoke_own_key(bigint, bigint, text, bigint)",
    "name_keys(bigint, bigint, text, bigint[])",
    "look_at_users(bigint, bigint, text, bigint[])",
    "list_user_keys(bigint, bigint, text, bigint)",
    "revoke_user_key(bigint, bigint, text, bigint, bigint)",
    "set_user_active(bigint, bigint, text, bigint, boolean)",
)

# What is stored of a password, but for what proves that one knows it: how to compute that. Whoever names a user gets
# no more.
SALT = """
CREATE FUNCTION control.password_salt(in_workspace bigint, of_user bigint) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
SELECT regexp_replace(p.hash, '[$][^$]*$', '') FROM control.passwords p
WHERE p.workspace_id = in_workspace AND p.user_id = of_user AND p.owner_active;
END
"""

# The stamp is what sessions hold, for whoever has computed the hash from the password. Null: it is another password.
PROVE = """
CREATE FUNCTION control.prove_password(in_workspace bigint, of_user bigint, computed_hash text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
SELECT p.stamp FROM control.passwords p
WHERE p.workspace_id = in_workspace AND p.user_id = of_user AND p.owner_active AND p.hash = computed_hash;
END
"""

# Links that were made before end with any password that is set.
CHANGE = """
CREATE FUNCTION control.change_password(
    in_workspace bigint, of_user bigint, computed_hash text, new_hash text, new_stamp text
) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
BEGIN ATOMIC
WITH changed AS (
    UPDATE control.passwords p SET hash = new_hash, stamp = new_stamp, changed_at = now()
    WHERE p.workspace_id = in_workspace AND p.user_id = of_user AND p.owner_active AND p.hash = computed_hash
    RETURNING p.workspace_id, p.user_id
),
ended AS (
    DELETE FROM control.password_links l USING changed
    WHERE l.workspace_id = changed.workspace_id AND l.user_id = changed.user_id
),
noted AS (
    INSERT INTO control.operations (operation, workspace_id, details)
    SELECT 'password.set', in_workspace, jsonb_build_object('user_id', user_id) FROM changed
    RETURNING id
)
SELECT EXISTS (SELECT FROM noted);
END
"""

# testorchestrator_issuer calls it, which may not call what uses links: nobody who uses one can make it.
ISSUE_LINK = """
CREATE FUNCTION control.issue_link(in_workspace bigint, for_user bigint, for_purpose text, hash_of_secret bytea)
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
BEGIN ATOMIC
INSERT INTO control.password_links (workspace_id, user_id, purpose, secret_hash)
VALUES (in_workspace, for_user, for_purpose, hash_of_secret)
ON CONFLICT (workspace_id, user_id, purpose) DO UPDATE SET secret_hash = excluded.secret_hash, issued_at = now();
END
"""

HOLDS_LINK = """
CREATE FUNCTION control.holds_link(in_workspace bigint, for_user bigint, for_purpose text, hash_of_secret bytea)
RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
SELECT EXISTS (
    SELECT FROM control.password_links l
    WHERE l.workspace_id = in_workspace AND l.user_id = for_user AND l.purpose = for_purpose
        AND l.secret_hash = hash_of_secret
);
END
"""

USE_LINK = """
CREATE FUNCTION control.use_link(
    in_workspace bigint, for_user bigint, for_purpose text, hash_of_secret bytea, new_hash text, new_stamp text
) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
BEGIN ATOMIC
WITH link AS (
    DELETE FROM control.password_links l
    WHERE l.workspace_id = in_workspace AND l.user_id = for_user AND l.purpose = for_purpose
        AND l.secret_hash = hash_of_secret
    RETURNING l.workspace_id, l.user_id
),
stored AS (
    INSERT INTO control.passwords AS p (workspace_id, user_id, hash, stamp)
    SELECT link.workspace_id, link.user_id, new_hash, new_stamp FROM link
    ON CONFLICT (workspace_id, user_id) DO UPDATE
        SET hash = excluded.hash, stamp = excluded.stamp, changed_at = now() WHERE p.owner_active
    RETURNING p.workspace_id, p.user_id
),
ended AS (
    DELETE FROM control.password_links l USING stored
    WHERE l.workspace_id = stored.workspace_id AND l.user_id = stored.user_id AND l.purpose <> for_purpose
),
noted AS (
    INSERT INTO control.operations (operation, workspace_id, details)
    SELECT 'password.set', in_workspace, jsonb_build_object('user_id', user_id) FROM stored
    RETURNING id
)
SELECT EXISTS (SELECT FROM noted);
END
"""

FUNCTIONS = {
    "password_salt(bigint, bigint)": (SALT, "testorchestrator_gate"),
    "prove_password(bigint, bigint, text)": (PROVE, "testorchestrator_gate"),
    "change_password(bigint, bigint, text, text, text)": (CHANGE, "testorchestrator_gate"),
    "holds_link(bigint, bigint, text, bytea)": (HOLDS_LINK, "testorchestrator_gate"),
    "use_link(bigint, bigint, text, bytea, text, text)": (USE_LINK, "testorchestrator_gate"),
    "issue_link(bigint, bigint, text, bytea)": (ISSUE_LINK, "testorchestrator_issuer"),
}


def upgrade() -> None:
    op.create_table(
        "password_links",
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("purpose", sa.String(length=20), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("octet_length(secret_hash) = 32", name=op.f("password_links_secret_hash_check")),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["control.workspaces.id"],
            name=op.f("password_links_workspace_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "user_id", "purpose", name=op.f("password_links_pkey")),
        schema="control",
        comment="Links by which somebody may set a password, by the SHA-256 of their secret: of each purpose the latest one alone. A password that is set ends them.",
    )
    for name, (statement, role) in FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"REVOKE EXECUTE ON FUNCTION control.{name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION control.{name} TO {role}")
    for name in CALLED_BY_THE_GATE:
        op.execute(f"GRANT EXECUTE ON FUNCTION control.{name} TO testorchestrator_gate")
