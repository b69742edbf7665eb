"""Which process a runner is."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Change the schema."""
    op.add_column("paredown_runners", sa.Column("process", sa.JSON(), nullable=True))
