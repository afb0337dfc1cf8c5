set positional-arguments

[private]
default:
    @just --list

# Make the metadata; options of Snakemake may follow: just run --config root=<ROOT> extra=<EXTRA>
run *options:
    snakemake --cores 4 "$@"

# Run all tests, or those that are named: just test tests/test_scan.py
test *options:
    pytest "$@"

# Run the tests that take long and rarely fail; as root, also those on a real Slurm
long *options:
    pytest -m long "$@"

# Check style, Snakemake's advice and types
lint:
    ruff check . && ruff format --check . && snakefmt --check . && snakemake --lint && mypy

# Bring the style of all files in order, as far as the tools can
format:
    ruff check --fix . && ruff format . && snakefmt .

# Check that the documents agree with each other and with the program
docs:
    pytest tests/test_docs.py

# Run tests as `just test` does, and list the lines of the package that none of them reached
cover *options:
    coverage erase
    COVERAGE_PROCESS_START="$PWD/pyproject.toml" COVERAGE_FILE="$PWD/.coverage" pytest "$@"
    coverage combine --quiet && coverage report

# Run the quick tests in environments of their own, with each Python that is here: just pythons 3.10
pythons *versions:
    .ci/pythons "$@"

# Run the quick tests while everything is hidden that only Linux has, but for two whose tools need it
elsewhere *options:
    PYTHONPATH="$PWD/tests/no_linux" pytest tests/test_*.py \
        --ignore tests/test_browser.py --ignore tests/test_typing.py "$@"

# Measure the speed as a ratio to a baseline; --quick takes two minutes
bench *options:
    python benchmarks/run.py "$@"

# Break the code in many places, and list where no test noticed it
mutants *options:
    python benchmarks/mutants.py "$@"
