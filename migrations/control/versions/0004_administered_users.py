"""administered users."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What releases before call stays.
compatible_from = "0001"


# What the pages of administration need to know and to do about other users of the same workspace. Whoever calls shows
# the stamp of a session that holds; that its user is an administrator only the workspace knows, and is asked there.

LOOK_AT_USERS = """
CREATE FUNCTION control.look_at_users(in_workspace bigint, by_user bigint, session_stamp text, user_ids bigint[])
RETURNS TABLE (user_id bigint, has_password boolean, working_keys bigint)
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
SELECT asked.id,
    EXISTS (SELECT FROM control.passwords p WHERE p.workspace_id = in_workspace AND p.user_id = asked.id),
    (
        SELECT count(*) FROM control.api_keys k
        WHERE k.workspace_id = in_workspace AND k.user_id = asked.id AND k.owner_active AND k.revoked_at IS NULL
            AND (k.expires_at IS NULL OR k.expires_at > now())
    )
FROM unnest(user_ids) AS asked (id)
WHERE EXISTS (
    SELECT FROM control.passwords p
    WHERE p.workspace_id = in_workspace AND p.user_id = by_user AND p.stamp = session_stamp AND p.owner_active
);
END
"""

LIST_USER_KEYS = """
CREATE FUNCTION control.list_user_keys(in_workspace bigint, by_user bigint, session_stamp text, of_user bigint)
RETURNS TABLE (
    id bigint, label text, prefix text, state text, created_at timestamptz, expires_at timestamptz,
    revoked_at timestamptz, last_used_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
SELECT k.id, k.label, k.prefix,
    CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= now() THEN 'expired'
        WHEN NOT k.owner_active THEN 'owner deactivated' ELSE 'active' END,
    k.created_at, k.expires_at, k.revoked_at, k.last_used_at
FROM control.api_keys k
WHERE k.workspace_id = in_workspace AND k.user_id = of_user AND EXISTS (
    SELECT FROM control.passwords p
    WHERE p.workspace_id = in_workspace AND p.user_id = by_user AND p.stamp = session_stamp AND p.owner_active
)
ORDER BY k.id DESC;
END
"""

REVOKE_USER_KEY = """
CREATE FUNCTION control.revoke_user_key(
    in_workspace bigint, by_user bigint, session_stamp text, of_user bigint, key_id bigint
) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
BEGIN ATOMIC
WITH revoked AS (
    UPDATE control.api_keys k SET revoked_at = now()
    WHERE k.id = key_id AND k.workspace_id = in_workspace AND k.user_id = of_user AND k.revoked_at IS NULL AND EXISTS (
        SELECT FROM control.passwords p
        WHERE p.workspace_id = in_workspace AND p.user_id = by_user AND p.stamp = session_stamp AND p.owner_active
    )
    RETURNING k.id
),
noted AS (
    INSERT INTO control.operations (operation, workspace_id, details)
    SELECT 'key.revoke', in_workspace,
        jsonb_build_object('user_id', of_user, 'api_key_id', revoked.id, 'by_user_id', by_user)
    FROM revoked
)
SELECT EXISTS (SELECT FROM revoked);
END
"""

# The password first, and in a statement of its own: a key that is just being made holds that row, and is seen when the
# keys are updated. Nobody does it to themselves.
SET_USER_ACTIVE = """
CREATE FUNCTION control.set_user_active(
    in_workspace bigint, by_user bigint, session_stamp text, of_user bigint, to_active boolean
) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
BEGIN ATOMIC
UPDATE control.passwords o SET owner_active = to_active
WHERE o.workspace_id = in_workspace AND o.user_id = of_user AND of_user <> by_user AND EXISTS (
    SELECT FROM control.passwords p
    WHERE p.workspace_id = in_workspace AND p.user_id = by_user AND p.stamp = session_stamp AND p.owner_active
);
UPDATE control.api_keys k SET owner_active = to_active
WHERE k.workspace_id = in_workspace AND k.user_id = of_user AND of_user <> by_user AND EXISTS (
    SELECT FROM control.passwords p
    WHERE p.workspace_id = in_workspace AND p.user_id = by_user AND p.stamp = session_stamp AND p.owner_active
);
WITH noted AS (
    INSERT INTO control.operations (operation, workspace_id, details)
    SELECT CASE WHEN to_active THEN 'user.activate' ELSE 'user.deactivate' END, in_workspace,
        jsonb_build_object('user_id', of_user, 'by_user_id', by_user)
    FROM control.passwords p
    WHERE p.workspace_id = in_workspace AND p.user_id = by_user AND p.stamp = session_stamp AND p.owner_active
        AND of_user <> by_user
    RETURNING id
)
SELECT EXISTS (SELECT FROM noted);
END
"""

FUNCTIONS = {
    "look_at_users(bigint, bigint, text, bigint[])": LOOK_AT_USERS,
    "list_user_keys(bigint, bigint, text, bigint)": LIST_USER_KEYS,
    "revoke_user_key(bigint, bigint, text, bigint, bigint)": REVOKE_USER_KEY,
    "set_user_active(bigint, bigint, text, bigint, boolean)": SET_USER_ACTIVE,
}


def upgrade() -> None:
    for name, statement in FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"REVOKE EXECUTE ON FUNCTION control.{name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION control.{name} TO testorchestrator_app")
