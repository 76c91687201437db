"""The table of check names: each is used, and a family names its members by what the user asked for."""

import ast
from pathlib import Path

from gpuenv.api import check_names

CODE = Path(__file__).parents[2] / "operator" / "gpuenv"


def constants() -> set[str]:
    return {
        name
        for name, value in vars(check_names).items()
        if name.isupper() and name != "DESCRIPTIONS" and value
    }


def test_no_name_is_left_over() -> None:
    used = {
        node.attr
        for path in CODE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "check_names"
    }
    assert constants() - used == set()


def test_every_name_has_one_line() -> None:
    assert len(constants()) == len(check_names.DESCRIPTIONS)
    assert all(text.endswith(".") and "\n" not in text for text in check_names.DESCRIPTIONS.values())


def test_a_member_of_a_family_has_no_empty_part() -> None:
    assert check_names.FLOOR.of("matmul", "bf16") == "floor-matmul-bf16"
    assert check_names.FLOOR.of("devicememory", "") == "floor-devicememory"
