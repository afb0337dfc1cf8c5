# `snakemake --report report.html`: the pages are drawn while Snakemake reads this file. No job makes
# them, as they show what is published.


def pages():
    """The pages of the report, drawn only if somebody asks for it."""
    if "--report-after-run" in sys.argv:
        sys.exit(
            "Error: --report-after-run does not work: the report is drawn before the run. Run first, then use --report."
        )
    if not any(re.match("--report(=|$)", argument) for argument in sys.argv):
        return []
    from dinov3_metadata.report.pages import draw_report

    with ending_plainly():
        drawn = draw_report(stages.extra, stages.splits)
    files = []
    for page in drawn:
        caption, labels = f"workflow/report/{page['kind']}.rst", {"page": page["title"]}
        file = report(page["path"], caption=caption, category=page["category"], labels=labels)
        files.append(file)
    return files
