"""Tables that a measurement writes into a README: what stands between two markers is replaced, the rest stays."""

from pathlib import Path


def put_between(file: Path, markers: tuple[str, str], text: str) -> None:
    """Replace what stands between the markers by lines of text.

    Raises:
        ValueError: when the markers are not there.
    """
    start, end = markers
    content = file.read_text()
    if start not in content or end not in content:
        raise ValueError(f"{file} lacks the markers {start} and {end}: put them back where the table goes")
    head, tail = content.split(start)[0], content.split(end)[1]
    file.write_text(f"{head}{start}\n{text}\n{end}{tail}")
