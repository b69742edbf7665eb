"""workers of the service, and what a job needs of one."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Change the schema."""
    op.add_column("paredown_jobs", sa.Column("needs", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "paredown_workers",
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("offers", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("token"),
    )
