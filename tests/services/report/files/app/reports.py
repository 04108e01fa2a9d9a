"""Reports: a table of numbers comes in as CSV, its summary goes out as PDF."""

import io
from itertools import starmap

import numpy as np
from flask import Blueprint, Response, abort, request
from fpdf import FPDF

blueprint = Blueprint("reports", __name__, url_prefix="/reports")


def summary(table: str) -> list[str]:
    """Return a line for each column of a table in CSV; raise ValueError for what is not one."""
    names = table.partition("\n")[0].strip().split(",")
    numbers = np.loadtxt(io.StringIO(table), delimiter=",", skiprows=1, ndmin=2)
    if not numbers.size or numbers.shape[1] != len(names):
        raise ValueError
    columns = zip(names, numbers.mean(axis=0), numbers.std(axis=0), strict=True)
    return list(starmap("{}: mean {:.2f}, deviation {:.2f}".format, columns))


@blueprint.post("")
def make() -> Response:
    """Return the summary of the table in the body."""
    try:
        lines = summary(request.get_data(as_text=True))
    except ValueError:
        abort(422, "this is no table of numbers with a line of names")
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=12)
    for line in lines:
        pdf.cell(text=line.encode("latin-1", "replace").decode("latin-1"), new_x="LMARGIN", new_y="NEXT")
    return Response(bytes(pdf.output()), content_type="application/pdf")
