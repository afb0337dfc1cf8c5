# Draw the pages for `snakemake --report report.html`. This happens while Snakemake reads this file,
# not in a job, because the pages show what is already published.


def pages():
    """Return the pages of the report, which are drawn only if the user asks for a report."""
    after_run = "--report-after-run" in sys.argv
    if after_run and not IS_MODULE:
        sys.exit(
            "Error: --report-after-run does not work: the report is drawn before the run. Run first, then use --report."
        )
    if after_run or not any(re.match("--report(=|$)", argument) for argument in sys.argv):
        return []
    from dinov3_metadata.formats import read_description

    if IS_MODULE and not any(read_description(stages.extra, one) for one in stages.chain.splits):
        return []  # the importer's own report is made without them
    with ending_plainly():
        for module in ("matplotlib", "pygments"):
            check_installed(module, "workflow", "The report")
        from dinov3_metadata.report.pages import draw_report

        drawn = draw_report(stages.extra, stages.chain.splits)
    files = []
    for page in drawn:
        caption, labels = f"{HOUSE}/workflow/report/{page['kind']}.rst", {"page": page["title"]}
        file = report(page["path"], caption=caption, category=page["category"], labels=labels)
        files.append(file)
    return files


report_pages = pages()

if report_pages and not IS_MODULE:
    from dinov3_metadata.paths import path_of
    from dinov3_metadata.report.pages import FIRST

    report: path_of(stages.extra, "page", page=FIRST)
