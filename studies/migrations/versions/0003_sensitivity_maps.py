"""sensitivity maps."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Change the schema."""
    with op.batch_alter_table("paredown_studies", schema=None) as batch_op:
        batch_op.add_column(sa.Column("sensitivity", sa.JSON(none_as_null=True), nullable=True))
