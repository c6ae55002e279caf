"""Every fault of the list, 1 to 90, is provoked by a test here, by one elsewhere in the suite, or says why not.

The tests of this folder name their rows at the beginning of a sentence of their docstring: "Row 42: ..." or
"Rows 1, 2 and 3: ...".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROWS = range(1, 91)
ELSEWHERE = {
    20: ["prediction/test_watch.py::test_a_file_is_ready_when_it_was_the_same_twice_in_the_order_of_completion"],
    21: ["faults/test_entries.py::test_each_of_them_is_a_row_with_its_reason"],
    22: [
        "faults/test_plain_files.py::test_what_may_never_end_is_refused",
        "faults/test_entries.py::test_in_class_folders_they_are_bad_rows_that_stop_a_training_or_are_counted",
    ],
    23: ["test_tree.py::test_a_link_that_leads_back_is_not_followed"],
    24: [
        "faults/test_decoders.py::test_a_crash_is_a_row_and_is_not_tried_again",
        "images/test_decoders.py::test_a_decoder_that_hangs_is_given_up",
    ],
    36: [
        "data/test_folders.py::test_class_folders_that_windows_refuses_are_warned_of",
        "system/test_texts.py::test_names_that_windows_refuses",
    ],
    54: ["cli/test_app.py::test_an_option_given_twice_is_refused"],
    55: [
        "faults/test_full_disk.py::test_without_stdout_there_is_no_place_for_results",
        "faults/test_full_disk.py::test_messages_that_nobody_reads_do_not_end_the_work",
    ],
    57: ["training/test_callback.py::test_many_skipped_steps_in_a_row_end_the_training"],
    58: [
        "training/test_trainer.py::test_smaller_parts_of_the_same_batch",
        "training/test_trainer.py::test_in_the_middle_of_a_run_the_batch_is_not_changed",
        "training/test_trainer.py::test_a_validation_goes_on_with_fewer_at_once",
    ],
    60: ["faults/test_decoders.py::test_prepare_says_which_row_it_was_and_reads_all_others"],
    61: [
        "training/test_resume.py::test_a_signal_finishes_the_step_and_says_how_to_resume",
        "training/test_resume.py::test_the_second_signal_leaves_at_once_and_loses_nothing",
    ],
    62: ["training/test_resume.py::test_a_signal_finishes_the_step_and_says_how_to_resume"],
    63: ["training/test_resume.py::test_a_run_that_is_killed_again_and_again_equals_the_one_that_is_not"],
    64: [
        "faults/test_full_disk.py::test_a_disk_that_fills_up_leaves_no_half_report",
        "training/test_resume.py::test_a_disk_that_is_full_costs_nothing_that_was_saved",
    ],
    65: [
        "faults/test_full_disk.py::test_a_place_that_cannot_be_written_is_told_before_the_work",
        "faults/test_output_folders.py::test_it_is_noticed_before_the_data_is_read",
    ],
    66: ["training/test_resume.py::test_another_run_is_not_resumed"],
    68: ["training/test_resume.py::test_a_damaged_checkpoint_is_passed_over_by_name"],
    69: ["training/test_resume.py::test_the_second_of_two_runs_in_one_folder_is_refused"],
    70: ["training/test_resume.py::test_a_run_that_is_killed_again_and_again_equals_the_one_that_is_not"],
    72: ["system/test_devices.py::test_a_t4_is_refused_bf16_with_the_reason"],
    74: ["training/test_trainer.py::test_a_validation_is_never_the_best"],
    77: ["training/test_resume.py::test_no_pickle_in_a_run_folder_is_loaded"],
    79: ["faults/test_damaged_models.py::test_what_cannot_be_believed_is_refused_in_one_panel"],
    81: [
        "prediction/test_load.py::test_stale_exports_leave_the_weights_to_torch",
        "faults/test_damaged_models.py::test_a_damaged_export_is_passed_over_where_torch_can_answer",
    ],
    82: ["export/test_export.py::test_a_model_that_answers_differently_is_refused_and_nothing_is_left"],
    83: [
        "export/test_int8.py::test_a_trial_is_kept_where_it_agrees_and_is_not_slower",
        "backends/test_choose.py::test_int8_is_taken_only_on_the_machine_where_it_was_tried",
    ],
    84: [
        "faults/test_hub.py::test_a_hub_that_gives_nothing_is_given_up_in_one_error",
        "faults/test_hub.py::test_what_was_fetched_before_is_used_and_said",
        "faults/test_hub.py::test_a_refusal_is_named_with_the_hubs_own_words",
    ],
    85: [
        "data/test_sources.py::test_a_config_of_a_hub_data_set_is_named_after_a_colon",
        "runs/test_identity.py::test_another_run_is_refused_with_the_difference",
    ],
    87: ["faults/test_runtime.py::test_a_runtime_that_cannot_be_loaded"],
}
"""Rows whose tests stand in other files, or under other headings: FILE::TEST, below the folder of all tests."""
WITHOUT = {
    36: "names are warned of, which is tested; that a path is too long shows on Windows only",
    57: "a scaler belongs to fp16, which a processor does not train in: the test counts skipped steps as a card does",
    58: "a card that is too small is needed to run out of its memory: the tests raise torch's own error in its place",
    59: "nothing is in shared memory: training has no worker processes, and arrays are mapped from files",
    60: "training has no worker processes; those that decode are killed in the test that is named",
    70: "the repetition on a card, with --deterministic, needs one; on a processor it is tested",
    71: "an old driver or card is needed for its own message; a machine without a card is tested",
    72: "a T4 is needed; the test gives its capability instead. There is no key tf32",
    83: "a processor without VNNI is needed; that the slower of the two is not kept is tested",
}
"""Rows that no test can provoke in full on a processor, and why; for some, what can be tested is."""


def functions_of(path: Path) -> Iterator[ast.FunctionDef]:
    """The tests in a file, those in classes too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node


def rows_of(docstring: str) -> set[int]:
    """The numbers that a docstring names."""
    named = re.findall(r"\bRows? ([\d,\sand]+):", docstring)
    return {int(number) for text in named for number in re.findall(r"\d+", text)}


def named_here() -> dict[int, list[str]]:
    """The tests of this folder, by the row that they name."""
    found: dict[int, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for test in functions_of(path):
            for row in rows_of(ast.get_docstring(test) or ""):
                found.setdefault(row, []).append(f"faults/{path.name}::{test.name}")
    return found


def test_docstrings_are_understood() -> None:
    assert rows_of("Row 42: one.") == {42}
    assert rows_of("Rows 1, 2 and 30: three.\n\nRow 4: one more. In row 5 of a table: none.") == {1, 2, 30, 4}


def test_every_row_has_a_test_or_a_reason() -> None:
    rows = {*named_here(), *ELSEWHERE, *WITHOUT}
    assert rows == {*ROWS}, (sorted({*ROWS} - rows), sorted(rows - {*ROWS}))


def test_the_tests_that_are_named_exist() -> None:
    for row, names in ELSEWHERE.items():
        for name in names:
            file, _, test = name.partition("::")
            assert test in {each.name for each in functions_of(TESTS / file)}, (row, name)
