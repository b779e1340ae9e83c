"""Every code block of README and docs runs, in the order of its page, in a folder with the files the page presumes.

Blocks of Python share one namespace a page; blocks that begin with `fastinit` run in bash beside them. A block that
does not run as it stands says so in a comment right above its fence, which readers of the source see:

    <!-- run: with torch -->           needs a package; runs where that is installed
    <!-- run: slow, 1 GiB -->          runs under -m slow
    <!-- run: never, installs -->      is not run; the rest says why

`<!-- run all: with torch -->` holds for its whole page. Blocks without a language that are no command are text;
`{...}` in place of a language is a directive of Sphinx.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fastinit.laws import Normal
from fastinit.plan import Plan, Tensor
from fastinit.write import write

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {"docs/frameworks.md", "docs/jax.md"}  # section by section, in tests/frameworks/test_frameworks_page.py
PAGES = [
    "README.md",
    *sorted({str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")} - ELSEWHERE),
]
FORMULAS = {"docs/stream.md"}  # whose blocks are formulas; tests/unit/test_stream_page.py holds them
FENCE = re.compile(
    r"(?:^<!-- run: (?P<marker>[^>]*?) -->\n+)?^```(?P<language>\w*|\{[\w-]+\}[^\n]*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
COMMAND = re.compile(r"(fastinit|python -m fastinit|python -m pip) ")


@dataclass(frozen=True)
class Block:
    """A block that is code: where it stands, how it runs (python, bash), and when (slow, never, with a package)."""

    line: int
    language: str
    text: str
    when: str

    @property
    def package(self) -> str | None:
        """What must be installed."""
        return self.when.removeprefix("with ") if self.when.startswith("with ") else None


def blocks(page: str, text: str | None = None) -> list[Block]:
    """The code of a page."""
    text = (ROOT / page).read_text(encoding="utf-8") if text is None else text
    everywhere = re.search(r"^<!-- run all: (.*?) -->$", text, re.MULTILINE)
    found = []
    for match in FENCE.finditer(text):
        language = {"console": "bash", "sh": "bash", "": "bash"}.get(match["language"], match["language"])
        if language == "python" or (language == "bash" and (match["language"] or COMMAND.match(match["text"]))):
            marker = match["marker"] or (everywhere[1] if everywhere else "")
            line = text.count("\n", 0, match.start("text")) + 1
            found.append(Block(line, language, match["text"], marker.split(",")[0]))
    return found


@pytest.fixture(scope="module")
def presumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages presume: a GPT-2 and a Llama of toy size, shapes, rules, a checkpoint that was trained."""
    folder = tmp_path_factory.mktemp("presumed")
    shapes = {"wte.weight": (100, 16), "wpe.weight": (10, 16), "ln_f.weight": (16,), "ln_f.bias": (16,)}
    shapes |= {f"h.{layer}.attn.c_proj.weight": (16, 16) for layer in range(2)}
    plan = Plan([Tensor(name, shape, "float32", Normal(0.0, 0.02)) for name, shape in shapes.items()])
    write(plan, folder / "trained", seed=0)
    shutil.copy(next((folder / "trained").glob("*.safetensors")), folder / "model.safetensors")
    for name in ("shapes.json", "stage3.json"):
        (folder / name).write_text(json.dumps({name: {"shape": shape} for name, shape in shapes.items()}))
    rules = re.search(r"^```toml\n(.*?)^```$", (ROOT / "docs/checkpoints.md").read_text(), re.DOTALL | re.MULTILINE)
    assert rules is not None
    (folder / "rules.toml").write_text(rules[1])
    np.zeros((1024, 1024), np.float16).tofile(folder / "weights.bin")
    _llama(folder / "llama")
    gpt2 = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_layer": 2, "n_embd": 16, "n_head": 2}
    (folder / "config.json").write_text(json.dumps(gpt2 | {"vocab_size": 100, "n_positions": 10}))
    return folder


def _llama(folder: Path) -> None:
    """A Llama of eight small layers, in several files."""
    layer = {
        **{f"self_attn.{one}_proj.weight": (16, 16) for one in "qkvo"},
        **{f"mlp.{one}_proj.weight": (24, 16) for one in ("gate", "up")},
        "mlp.down_proj.weight": (16, 24),
        **{f"{one}_layernorm.weight": (16,) for one in ("input", "post_attention")},
    }
    shapes = {"model.embed_tokens.weight": (100, 16), "model.norm.weight": (16,), "lm_head.weight": (100, 16)}
    shapes |= {f"model.layers.{i}.{name}": shape for i in range(8) for name, shape in layer.items()}
    plan = Plan([Tensor(name, shape, "bfloat16", Normal(0.0, 0.02)) for name, shape in shapes.items()])
    write(plan, folder, seed=0, shard_size=20_000)
    config = {"model_type": "llama", "vocab_size": 100, "num_hidden_layers": 8, "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))


# Runs in the child: each block in its turn, and an error names the page's line.
DRIVER = """
import json, subprocess, sys
page, blocks = sys.argv[1], json.loads(sys.argv[2])
namespace = {"__name__": "page"}
for line, language, text in blocks:
    print(f"--- {page}:{line}", flush=True)
    if language == "python":
        exec(compile("\\n" * (line - 1) + text, page, "exec"), namespace)
    else:
        subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True)
"""


def run(page: str, chosen: list[Block], presumed: Path, folder: Path) -> None:
    """Run blocks of a page in a copy of what it presumes."""
    shutil.copytree(presumed, folder, dirs_exist_ok=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    code = json.dumps([[one.line, one.language, one.text] for one in chosen])
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, page, code],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONWARNINGS": "default"} | _only_rank(chosen),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def _only_rank(chosen: list[Block]) -> dict[str, str]:
    """What torchrun tells its processes, where there is one; nothing for pages that start no group of processes."""
    if not any("init_process_group" in one.text for one in chosen):
        return {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": "0", "WORLD_SIZE": "1"}


def packages(page: str) -> list[str]:
    return sorted({one.package for one in blocks(page) if one.package})


def runs(block: Block) -> bool:
    """Whether a block runs here and by default."""
    return not block.when or (block.package is not None and importlib.util.find_spec(block.package) is not None)


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(runs, blocks(page)))])
def test_the_blocks_of_a_page_run(page, presumed, tmp_path):
    run(page, [one for one in blocks(page) if runs(one)], presumed, tmp_path)


@pytest.mark.parametrize(("page", "package"), [(page, package) for page in PAGES for package in packages(page)])
def test_the_package_that_blocks_need_is_installed(page, package):
    pytest.importorskip(package)  # a skip here is a block that did not run above


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(one.when == "slow" for one in blocks(page))])
def test_the_large_blocks_run_with_the_rest_of_their_page(page, presumed, tmp_path):
    run(page, [one for one in blocks(page) if runs(one) or one.when == "slow"], presumed, tmp_path)


@pytest.mark.parametrize("page", PAGES)
def test_no_block_of_a_page_is_passed_over(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(FENCE.findall(text))
    for marker in re.findall(r"<!-- run(?: all)?: (.*?) -->", text):
        assert re.fullmatch(r"slow, .+|never, .+|with [\w.]+", marker), f"{page}: what does {marker!r} mean?"
    assert len(re.findall("<!-- run: ", text)) == len([one for one in FENCE.finditer(text) if one["marker"]])
    if page not in FORMULAS:
        code = {one.line for one in blocks(page)}
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start("text")) + 1
            assert (
                line in code
                or match["marker"]
                or match["language"] in ("toml", "json", "text")
                or match["language"][:1] == "{"
            ), f"{page}:{line} is neither run nor marked"


def test_blocks_are_found_with_their_markers():
    page = "```python\nx = 1\n```\n\n<!-- run: slow, 1 GiB -->\n```bash\nfastinit info\n```\n```\nnot code\n```\n"
    assert blocks("-", page) == [Block(2, "python", "x = 1\n", ""), Block(7, "bash", "fastinit info\n", "slow")]
    page = "<!-- run all: with torch -->\n\n```\nfastinit info\n```\n```toml\na = 1\n```\n"
    assert blocks("-", page) == [Block(4, "bash", "fastinit info\n", "with torch")]


def test_a_block_that_fails_is_named_by_its_line(presumed, tmp_path):
    with pytest.raises(AssertionError, match=r"page\.md:7"):
        run(
            "page.md",
            [Block(3, "python", "x = 1\n", ""), Block(7, "python", "assert x == 2\n", "")],
            presumed,
            tmp_path,
        )
    with pytest.raises(AssertionError, match=r"page\.md:9"):
        run("page.md", [Block(9, "bash", "fastinit show nothing.safetensors\n", "")], presumed, tmp_path / "again")


def test_the_packages_of_markers_are_those_we_know():
    for page in PAGES:
        for package in packages(page):
            assert package in ("torch", "jax", "keras", "flax", "transformers", "peft", "sklearn", "matplotlib"), (
                package
            )
