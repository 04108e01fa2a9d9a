"""Reports."""

import pytest
from flask.testing import FlaskClient

from app.reports import summary


def test_each_column_has_its_line() -> None:
    assert summary("a,b\n1,5\n3,5\n") == ["a: mean 2.00, deviation 1.00", "b: mean 5.00, deviation 0.00"]


def test_the_summary_is_a_pdf(client: FlaskClient) -> None:
    response = client.post("/reports", data="a\n1\n")

    assert (response.status_code, response.mimetype) == (200, "application/pdf")
    assert response.data.startswith(b"%PDF-")


@pytest.mark.parametrize("table", ["a,b\n1\n", "a\nx\n"])
def test_what_is_no_table_is_refused(client: FlaskClient, table: str) -> None:
    assert client.post("/reports", data=table).status_code == 422
