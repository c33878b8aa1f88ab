"""The rules of the house, held over the whole tree."""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TRACKED = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True).stdout.split("\n")
FILES = [ROOT / name for name in TRACKED if name and (ROOT / name).is_file()]
SOURCES = [path for path in FILES if path.suffix == ".py" and path.parts[len(ROOT.parts)] != "tests"]
PROGRAMS = [path for path in SOURCES if path.parts[len(ROOT.parts)] in ("steps", "utils", "local")]
SHELL = [path for path in FILES if path.suffix == ".sh" or path == ROOT / ".ci/run"]
RECIPES = [path for path in SHELL if path.name == "run.sh" and path.parts[len(ROOT.parts)] == "egs"]
QUICK = ("torch", "numpy", "scipy", "sklearn", "matplotlib", "soundfile", "kaldiio")


def short(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_no_code_is_run_from_data(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not {"pickle", "marshal", "shelve"} & set(names), node.lineno
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "os.system", "os.popen", "yaml.load", "subprocess.getoutput"), node.lineno
            for keyword in node.keywords:
                assert not (keyword.arg in ("shell", "allow_pickle") and ast.unparse(keyword.value) != "False"), node.lineno
                assert not (keyword.arg == "weights_only" and ast.unparse(keyword.value) != "True"), node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_no_error_is_swallowed(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, node.lineno
            assert not all(isinstance(inner, ast.Pass) for inner in node.body), node.lineno


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[len(ROOT.parts)] == "pytorch"], ids=short)
def test_the_library_imports_no_program(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in ("steps", "utils", "local"), node.lineno


def test_no_program_hides_a_module_of_the_standard_library():
    assert not {path.stem for path in PROGRAMS} & sys.stdlib_module_names


@pytest.mark.parametrize("path", PROGRAMS, ids=short)
def test_help_has_an_example_and_needs_no_heavy_import(path):
    result = subprocess.run([sys.executable, "-X", "importtime", path, "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    assert re.search(r"^e\.g\. ", result.stdout, re.MULTILINE)
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert not imported & set(QUICK)


@pytest.mark.parametrize("path", [path for path in PROGRAMS if path.name != "check_python.py"], ids=short)
def test_an_unknown_option_is_status_2_and_leaves_one_line(path):
    result = subprocess.run([sys.executable, path, "--no-such-option", "1", "a", "b", "c"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("path", PROGRAMS, ids=short)
def test_programs_can_be_executed(path):
    assert path.stat().st_mode & 0o111
    assert path.read_text().startswith("#!/usr/bin/env python3\n")


@pytest.mark.parametrize("recipe", RECIPES, ids=short)
def test_every_option_a_recipe_passes_is_one_the_program_has(recipe):
    text = re.sub(r"\\\n", " ", recipe.read_text())
    calls = re.findall(r'\$(local|steps|utils)/(\w+\.py)"([^\n|;]*)', text)
    assert calls
    for folder, name, words in calls:
        known = subprocess.run([sys.executable, ROOT / folder / name, "--help"], capture_output=True, text=True).stdout
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", words):
            assert re.search(rf"^\s+{option}\b", known, re.MULTILINE), f"{folder}/{name} {option}"


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=short)
def test_every_option_a_page_shows_is_one_the_program_has(page):
    known = {}
    for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for program, words in re.findall(r"((?:local|steps|utils)/\w+\.py)([^\n|;#]*)", re.sub(r"\\\n", " ", block)):
            if program not in known:
                known[program] = subprocess.run([sys.executable, ROOT / program, "--help"], capture_output=True, text=True).stdout
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", re.sub(r"\"[^\"]*\"|'[^']*'", "", words)):
                assert re.search(rf"^\s+{option}\b", known[program], re.MULTILINE), f"{program} {option}"


def shown_trainings():
    """The trainings that the pages and the help of steps/train.py show -> list of words"""
    pages = [path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
    blocks = [block for page in pages for block in re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)]
    text = re.sub(r"\\\n", " ", "\n".join([*blocks, ast.get_docstring(ast.parse((ROOT / "steps/train.py").read_text()))]))
    lines = [re.split(r"\s#", line)[0] for line in re.findall(r"steps/train\.py (--[^\n|;]*)", text)]
    return [shlex.split(line) for line in lines if line != "--help"]


@pytest.mark.parametrize("words", shown_trainings(), ids=" ".join)
def test_a_training_that_is_shown_has_arguments_and_parts_of_its_network_and_loss(words, monkeypatch):
    from pytorch.losses import build_loss
    from pytorch.models import MODELS, ON_WAVES, build_model
    from pytorch.training.weights import freeze

    spec = importlib.util.spec_from_file_location("train", ROOT / "steps/train.py")
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    args = train.parse_args()
    model = build_model(args.model, 1 if args.model in ON_WAVES else 80, train.parse_model_args(args.model_args))
    freeze(model, args.freeze)
    build_loss(args.loss, model.embed_dim, 7, train.parse_loss_args(args.loss_args))
    if args.init and args.init.name in MODELS:  # examples name experiments by their networks
        assert args.model == args.init.name


@pytest.mark.parametrize("recipe", RECIPES, ids=short)
def test_every_conf_of_a_recipe_has_options_of_its_program(recipe):
    text = re.sub(r"\\\n", " ", recipe.read_text())
    for folder, name, conf in re.findall(r'\$(steps|local)/(\w+\.py)"[^\n]*--config "\$conf/([\w.]+)"', text):
        known = subprocess.run([sys.executable, ROOT / folder / name, "--help"], capture_output=True, text=True).stdout
        for option in re.findall(r"^(--[a-z-]+)=", (recipe.parent / "conf" / conf).read_text(), re.MULTILINE):
            assert re.search(rf"^\s+{option}\b", known, re.MULTILINE), f"{conf} {option}"


@pytest.mark.parametrize("recipe", RECIPES, ids=short)
def test_recipes_number_their_stages_alike(recipe):
    assert re.findall(r"^if stage (\d+) ", recipe.read_text(), re.MULTILINE) == ["1", "2", "3", "4", "5", "6"]


@pytest.mark.parametrize("recipe", RECIPES, ids=short)
def test_a_recipe_refuses_stages_it_does_not_have(recipe):
    for words in (["--stage", "9"], ["--stage", "0"], ["--stage", "4", "--stop-stage", "3"]):
        result = subprocess.run(["bash", recipe, *words], capture_output=True, text=True)
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1


def test_shell_is_shellcheck_clean():
    result = subprocess.run([Path(sys.executable).parent / "shellcheck", "-x", "-P", "SCRIPTDIR", "-s", "bash", *SHELL], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_python_is_ruff_clean():
    result = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", ROOT], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_there_are_no_symlinks():
    assert not [path for path in FILES if path.is_symlink()]


def test_the_readme_names_every_file_of_the_tree():
    readme = (ROOT / "README.md").read_text()
    missing = [short(path) for path in FILES if path.parts[len(ROOT.parts)] in ("egs", "local", "steps", "utils", "pytorch") and path.name not in readme]
    assert not [name for name in missing if not name.endswith("__init__.py")]


def test_the_files_a_text_links_to_exist():
    for path in FILES:
        if path.suffix == ".md":
            for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
                assert (path.parent / target).exists(), f"{short(path)}: {target}"
