"""Reads the tables that studies write."""


def table_rows(markdown):
    """Cells of all rows of all tables, with their headings and the lines below these."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
