"""passwords and sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# What releases before call stays.
compatible_from = "0001"


# A page's address names a workspace, its cookie a user and the stamp of their password. No row: no such workspace.
FIND_WORKSPACE = """
CREATE FUNCTION control.find_workspace(by_slug text, for_user bigint, session_stamp text)
RETURNS TABLE (
    workspace_id bigint, slug text, name text, schema_name text, schema_version text, compatible_from text,
    signed_in boolean
)
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
SELECT w.id, w.slug, w.name, w.schema_name, w.schema_version, w.compatible_from, EXISTS (
    SELECT FROM control.passwords p
    WHERE p.workspace_id = w.id AND p.user_id = for_user AND p.stamp = session_stamp AND p.owner_active
)
FROM control.workspaces w
WHERE w.slug = by_slug AND w.state = 'active';
END
"""

# Counted before the password is looked at, so that tries at the same time cannot be more, and whether or not there is
# such a user, so that the count tells nobody. From the fifth failure on none is admitted for 15 minutes.
ADMIT_SIGN_IN = """
CREATE FUNCTION control.admit_sign_in(in_workspace bigint, digest bytea) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
BEGIN ATOMIC
DELETE FROM control.sign_in_attempts WHERE (workspace_id, email_digest) IN (
    SELECT a.workspace_id, a.email_digest FROM control.sign_in_attempts a
    WHERE a.last_at < now() - interval '1 hour'
    ORDER BY a.last_at LIMIT 10 FOR UPDATE SKIP LOCKED
);
INSERT INTO control.sign_in_attempts AS a (workspace_id, email_digest) VALUES (in_workspace, digest)
ON CONFLICT (workspace_id, email_digest) DO UPDATE SET
    attempts = CASE WHEN a.last_at < now() - interval '15 minutes' THEN 1 ELSE least(a.attempts + 1, 6) END,
    last_at = CASE WHEN a.attempts >= 5 AND a.last_at >= now() - interval '15 minutes' THEN a.last_at ELSE now() END
RETURNING a.attempts <= 5;
END
"""

FORGET_SIGN_INS = """
CREATE FUNCTION control.forget_sign_ins(in_workspace bigint, digest bytea) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
BEGIN ATOMIC
DELETE FROM control.sign_in_attempts a WHERE a.workspace_id = in_workspace AND a.email_digest = digest;
END
"""

READ_HASH = """
CREATE FUNCTION control.read_password(in_workspace bigint, of_user bigint)
RETURNS TABLE (hash text, stamp text)
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
SELECT p.hash, p.stamp FROM control.passwords p
WHERE p.workspace_id = in_workspace AND p.user_id = of_user AND p.owner_active;
END
"""

# old_stamp is the one of the password that is replaced, empty where there is none yet: whoever proves to have been
# allowed to replace that one, by the session, the password or a link, is allowed to do it once.
REPLACE_HASH = """
CREATE FUNCTION control.replace_password(
    in_workspace bigint, of_user bigint, old_stamp text, new_hash text, new_stamp text
) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
BEGIN ATOMIC
WITH replaced AS (
    UPDATE control.passwords p SET hash = new_hash, stamp = new_stamp, changed_at = now()
    WHERE p.workspace_id = in_workspace AND p.user_id = of_user AND p.stamp = old_stamp AND p.owner_active
    RETURNING p.user_id
),
first AS (
    INSERT INTO control.passwords (workspace_id, user_id, hash, stamp)
    SELECT in_workspace, of_user, new_hash, new_stamp WHERE old_stamp = ''
    ON CONFLICT DO NOTHING
    RETURNING user_id
),
noted AS (
    INSERT INTO control.operations (operation, workspace_id, details)
    SELECT 'password.set', in_workspace, jsonb_build_object('user_id', user_id)
    FROM (SELECT user_id FROM replaced UNION ALL SELECT user_id FROM first) AS done
    RETURNING id
)
SELECT EXISTS (SELECT FROM noted);
END
"""

# Whoever asks for keys shows the stamp of the session, which nobody else has: a page that is wrong about the user
# finds nothing.
LIST_OWN_KEYS = """
CREATE FUNCTION control.list_own_keys(in_workspace bigint, of_user bigint, session_stamp text)
RETURNS TABLE (
    id bigint, label text, prefix text, state text, created_at timestamptz, expires_at timestamptz,
    revoked_at timestamptz, last_used_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
SELECT k.id, k.label, k.prefix,
    CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= now() THEN 'expired' ELSE 'active' END,
    k.created_at, k.expires_at, k.revoked_at, k.last_used_at
FROM control.api_keys k
JOIN control.passwords p ON p.workspace_id = k.workspace_id AND p.user_id = k.user_id
WHERE k.workspace_id = in_workspace AND k.user_id = of_user AND p.stamp = session_stamp AND p.owner_active
ORDER BY k.id DESC;
END
"""

# The lock on the password's row, which a deactivation takes first, lets no key slip past one that happens just now.
CREATE_OWN_KEY = """
CREATE FUNCTION control.create_own_key(
    in_workspace bigint, of_user bigint, session_stamp text,
    key_label text, key_prefix text, key_hash bytea, key_expires_at timestamptz
) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
BEGIN ATOMIC
WITH owner AS (
    SELECT p.workspace_id, p.user_id FROM control.passwords p
    JOIN control.workspaces w ON w.id = p.workspace_id
    WHERE p.workspace_id = in_workspace AND p.user_id = of_user AND p.stamp = session_stamp AND p.owner_active
        AND w.state = 'active'
    FOR SHARE OF p
),
made AS (
    INSERT INTO control.api_keys (workspace_id, user_id, label, prefix, hash, expires_at)
    SELECT o.workspace_id, o.user_id, key_label, key_prefix, key_hash, key_expires_at FROM owner o
    WHERE (
        SELECT count(*) FROM control.api_keys k
        WHERE k.workspace_id = o.workspace_id AND k.user_id = o.user_id AND k.revoked_at IS NULL
            AND (k.expires_at IS NULL OR k.expires_at > now())
    ) < 100
    RETURNING id
),
noted AS (
    INSERT INTO control.operations (operation, workspace_id, details)
    SELECT 'key.create', in_workspace, jsonb_build_object('user_id', of_user, 'api_key_id', made.id) FROM made
)
SELECT made.id FROM made;
END
"""

REVOKE_OWN_KEY = """
CREATE FUNCTION control.revoke_own_key(in_workspace bigint, of_user bigint, session_stamp text, key_id bigint)
RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
BEGIN ATOMIC
WITH revoked AS (
    UPDATE control.api_keys k SET revoked_at = now()
    FROM control.passwords p
    WHERE k.id = key_id AND k.workspace_id = in_workspace AND k.user_id = of_user AND k.revoked_at IS NULL
        AND p.workspace_id = k.workspace_id AND p.user_id = k.user_id AND p.stamp = session_stamp AND p.owner_active
    RETURNING k.id
),
noted AS (
    INSERT INTO control.operations (operation, workspace_id, details)
    SELECT 'key.revoke', in_workspace, jsonb_build_object('user_id', of_user, 'api_key_id', revoked.id) FROM revoked
)
SELECT EXISTS (SELECT FROM revoked);
END
"""

# Labels alone, for pages that tell which key did what.
NAME_KEYS = """
CREATE FUNCTION control.name_keys(in_workspace bigint, of_user bigint, session_stamp text, key_ids bigint[])
RETURNS TABLE (id bigint, label text)
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
SELECT k.id, k.label FROM control.api_keys k
WHERE k.id = ANY (key_ids) AND k.workspace_id = in_workspace AND EXISTS (
    SELECT FROM control.passwords p
    WHERE p.workspace_id = in_workspace AND p.user_id = of_user AND p.stamp = session_stamp AND p.owner_active
);
END
"""

FUNCTIONS = {
    "find_workspace(text, bigint, text)": FIND_WORKSPACE,
    "admit_sign_in(bigint, bytea)": ADMIT_SIGN_IN,
    "forget_sign_ins(bigint, bytea)": FORGET_SIGN_INS,
    "read_password(bigint, bigint)": READ_HASH,
    "replace_password(bigint, bigint, text, text, text)": REPLACE_HASH,
    "list_own_keys(bigint, bigint, text)": LIST_OWN_KEYS,
    "create_own_key(bigint, bigint, text, text, text, bytea, timestamp with time zone)": CREATE_OWN_KEY,
    "revoke_own_key(bigint, bigint, text, bigint)": REVOKE_OWN_KEY,
    "name_keys(bigint, bigint, text, bigint[])": NAME_KEYS,
}


def upgrade() -> None:
    op.create_table(
        "passwords",
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.String(length=255), nullable=False),
        sa.Column("stamp", sa.String(length=32), nullable=False),
        sa.Column("owner_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("stamp <> ''", name=op.f("passwords_stamp_check")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["control.workspaces.id"], name=op.f("passwords_workspace_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workspace_id", "user_id", name=op.f("passwords_pkey")),
        schema="control",
        comment="Hashes of passwords, which no workspace's role can read. stamp is another one with every password: sessions and links hold it, so that they end with it. owner_active mirrors the user's state in the workspace.",
    )
    op.create_table(
        "sign_in_attempts",
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("email_digest", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("octet_length(email_digest) = 32", name=op.f("sign_in_attempts_email_digest_check")),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["control.workspaces.id"],
            name=op.f("sign_in_attempts_workspace_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "email_digest", name=op.f("sign_in_attempts_pkey")),
        schema="control",
        comment="Tries to sign in since the last that succeeded, by the SHA-256 of what was given as the e-mail, be there such a user or not.",
    )
    op.create_index("sign_in_attempts_last_at_idx", "sign_in_attempts", ["last_at"], unique=False, schema="control")
    for name, statement in FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"REVOKE EXECUTE ON FUNCTION control.{name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION control.{name} TO testorchestrator_app")
