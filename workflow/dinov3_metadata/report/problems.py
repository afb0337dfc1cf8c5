"""Problems: show the images in which the last audit found something."""

from ..formats import PROBLEMS, AuditSummary, NotOk
from .data import EACH, Published
from .html import Html, Section, code, link, more_of, pages, table
from .tiles import LOOK, below, meant, tile


def audit_pages(one: Published, audit: AuditSummary) -> list[tuple[str, bytes]]:
    """Show the counts of an audit, and for each problem its first images."""
    about = f"{audit.images:,} images, opened with Pillow {audit.pillow}, {audit.audited}."
    if one.outdated:
        about += f" Since then the split has changed: it has {len(one.entries):,} images now."

    def top(where: dict[str, int]) -> str:
        rows: list[list[object]] = [["plain ok", audit.ok, ""]]
        for problem, many in audit.problems.items():
            rows.append([link(problem, problem, where), many, PROBLEMS.get(problem, "")])
        modes = table(["mode", "images"], audit.modes.items())
        problems = table(["problem", "images", "what it means for training"], rows)
        return f"<p>{about}</p>{problems}<h2>Modes</h2>{modes}"

    sections = (_section(one, problem, audit) for problem in one.not_ok)
    return pages(f"Audit, {one.split}", top, sections)


def _section(one: Published, problem: str, audit: AuditSummary) -> Section:
    """Show the first images with a problem."""
    note = f"<p>{PROBLEMS[problem]}</p>"
    if problem in LOOK:
        note += f"<p>Left: as training sees it. Right: as a viewer shows it, {LOOK[problem]}.</p>"
    first, *others = (_figure(one, problem, image) for image in one.not_ok[problem])
    more = audit.problems.get(problem, 0) - EACH
    others.append(more_of(more, "image", f"audit-{one.split}.json has all."))
    return Section(problem, problem, [note + first, *others])


def _figure(one: Published, problem: str, image: NotOk) -> Html:
    """Show an image with its path, and with all of its problems as the reason."""
    path = below(one.about.root, image.image)
    shown = tile(path, f"{image.image} as training sees it", "not decoded")
    if problem in LOOK:
        shown = Html(f"{shown} {meant(path, f'{image.image} as a viewer shows it')}")
    reason = f"{', '.join(image.problems)} {image.mode}"
    kind = " class=pair" if problem in LOOK else ""
    caption = f"{code(image.file or image.image)}<br><small>{code(reason)}</small>"
    return Html(f"<figure{kind}>{shown}<figcaption>{caption}</figcaption></figure>")
