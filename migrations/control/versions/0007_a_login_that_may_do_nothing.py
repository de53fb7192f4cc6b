"""a login that may do nothing."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# The release before calls these functions as the login itself.
compatible_from = "0006"

TAKEN_FROM_THE_LOGIN = (
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
# The hash for whoever names a user, another password for whoever proves nothing, and what 0002 replaced.
DROPPED = (
    "read_password(bigint, bigint)",
    "replace_password(bigint, bigint, text, text, text)",
    "authenticate(bytea)",
)


def upgrade() -> None:
    for name in TAKEN_FROM_THE_LOGIN:
        op.execute(f"REVOKE EXECUTE ON FUNCTION control.{name} FROM testorchestrator_app")
    for name in DROPPED:
        op.execute(f"DROP FUNCTION control.{name}")
