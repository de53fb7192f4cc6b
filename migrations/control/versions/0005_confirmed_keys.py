"""confirmed keys."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# What releases before call stays.
compatible_from = "0001"


# What a process looked up a moment ago, asked for again in the very transaction that works for the key: who is not let
# in any more ends it. By the key's id, so that no hash stands in a statement, which the server writes to its log where
# one fails.
CONFIRM_KEY = """
CREATE FUNCTION control.confirm_key(key_id bigint, of_user bigint, of_schema text, at_version text, with_releases text)
RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM control.api_keys k
    JOIN control.workspaces w ON w.id = k.workspace_id
    WHERE k.id = key_id AND k.user_id = of_user AND k.revoked_at IS NULL AND k.owner_active
        AND (k.expires_at IS NULL OR k.expires_at > now())
        AND w.schema_name = of_schema AND w.schema_version = at_version AND w.compatible_from = with_releases
        AND w.state = 'active';
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'TO401', MESSAGE = 'the key does not stand for this any more';
    END IF;
END
$$
"""


def upgrade() -> None:
    op.execute(CONFIRM_KEY)
    op.execute("REVOKE EXECUTE ON FUNCTION control.confirm_key(bigint, bigint, text, text, text) FROM PUBLIC")
    op.execute(
        "GRANT EXECUTE ON FUNCTION control.confirm_key(bigint, bigint, text, text, text) TO testorchestrator_app"
    )
