"""Add how many of an article are ordered, and find what is not shipped without a look at all orders."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Upgrade schema."""
    op.execute("ALTER TABLE orders ADD quantity integer NOT NULL DEFAULT 1")
    op.execute("CREATE INDEX orders_to_ship ON orders (id) WHERE shipped_at IS NULL")
