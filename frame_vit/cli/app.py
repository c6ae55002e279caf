"""The command line: every command with its group, its help topic and an example, and the command `help` itself.

`framevit --help` is what a person meets first, so it has to be quick: nothing heavy is imported here, the help is laid
out as plain text, without rich, and a command's options are built only when it is used.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from frame_vit.cli.doctor import doctor
from frame_vit.cli.evaluate import calibrate, compare, evaluate
from frame_vit.cli.export import benchmark, export
from frame_vit.cli.line import monitor, verify
from frame_vit.cli.predict import explain, predict
from frame_vit.cli.train import prepare, train
from frame_vit.errors import UsageError


class Command(NamedTuple):
    """A command, the group that it is listed in, the topic with the whole story, and one line to try.

    An empty topic stands for the list of all topics.
    """

    function: Callable[..., None]
    group: str
    topic: str
    example: str


def show_help(
    topic: Annotated[
        str | None, typer.Argument(metavar="TOPIC", help="A topic, or a command.", show_default="the list of topics")
    ] = None,
) -> None:
    """Explain a topic at length, such as data, labels or decisions."""
    from frame_vit.cli import console
    from frame_vit.cli.options import enough_seen
    from frame_vit.help.topics import topic_list, topic_text, topics

    name = (topic or "help").lower()
    if name not in topics() and name in COMMANDS:
        name = COMMANDS[name].topic
    text = topic_text(name) if name else topic_list()
    with enough_seen():
        console.show_markdown(text)


COMMANDS = {
    "prepare": Command(prepare, "data", "audit", "framevit prepare --config configs/demo.yaml"),
    "train": Command(train, "train", "training", "framevit train --config configs/demo.yaml"),
    "evaluate": Command(evaluate, "judge", "evaluation", "framevit evaluate --gate 'escape_rate.high<=0.01'"),
    "calibrate": Command(calibrate, "judge", "decisions", "framevit calibrate --set decision.max_escape_rate=0.02"),
    "compare": Command(compare, "judge", "evaluation", "framevit compare runs/demo-001 runs/demo-002"),
    "explain": Command(explain, "judge", "explanation", "framevit explain --split test"),
    "predict": Command(predict, "use", "prediction", "framevit predict camera/ -o rows.csv"),
    "export": Command(export, "use", "line-pc", "framevit export --int8 -o line/"),
    "benchmark": Command(benchmark, "use", "speed", "framevit benchmark runs/demo-001"),
    "monitor": Command(monitor, "line", "monitoring", "framevit monitor rows.jsonl --by shift"),
    "verify": Command(verify, "line", "records", "framevit verify rows.jsonl --pictures archive/"),
    "doctor": Command(doctor, "help", "troubleshooting", "framevit doctor --json"),
    "help": Command(show_help, "help", "", "framevit help decisions"),
}
"""Every command, in the order in which they are listed; a new one takes a line here."""

GROUPS = {
    "data": "Data",
    "train": "Train",
    "judge": "Judge a model",
    "use": "Use a model",
    "line": "Watch the line",
    "help": "Help",
}


class Once(TyperCommand):
    """A command that refuses an option given twice, of which click would silently drop the first, or without a value.

    An empty path, from a variable that is not set, would be the current folder.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        given = [each for each in order if each.param_type_name == "option" and not each.multiple]
        twice = next((each for each in given if given.count(each) > 1), None)
        empty = next((each for each in given if values.get(each.name) == ""), None)
        for option, mistake, way_out in (
            (twice, "is given twice", "Give it once"),
            (empty, "has an empty value", "Give it a value, or leave it out"),
        ):
            if option is not None and not ctx.resilient_parsing:
                raise UsageError(f"{'/'.join((*option.opts[:1], *option.secondary_opts))} {mistake}", way_out)
        return super().parse_args(ctx, args)


class Built(UserDict[str, Any]):
    """The commands by name, each built when it is first asked for: typer reads every option's type by reflection."""

    def __init__(self) -> None:
        self.data = dict.fromkeys(COMMANDS)

    def __getitem__(self, name: str) -> Any:
        if self.data[name] is None:
            command, alone = COMMANDS[name], typer.Typer(add_completion=False, rich_markup_mode=None)
            alone.command(name, cls=Once, epilog=_epilog(command))(command.function)
            self.data[name] = typer.main.get_command(alone)
        return self.data[name]


class Grouped(TyperGroup):
    """Lists the commands in groups."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = Built()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        widest = max(map(len, COMMANDS))
        room = formatter.width - widest - 6
        for group, title in GROUPS.items():
            listed = [(name, command) for name, command in COMMANDS.items() if command.group == group]
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{widest}}", _summary(command, room)) for name, command in listed])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        formatter.write_paragraph()
        formatter.write_text("Options of a command: framevit COMMAND --help. Everything else: framevit help")


app = typer.Typer(
    cls=Grouped,
    help="Fine-tune a Vision Transformer on frames whose classes are directions, test it, and predict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help in plain text: laying it out in rich would take longer than all the rest
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def begin(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from frame_vit import __version__

        typer.echo(f"framevit {__version__}")
        raise typer.Exit
    from frame_vit.cli import console

    console.start_messages()


def _epilog(command: Command) -> str:
    """What stands below a command's options; the backspace keeps the lines as they are."""
    return f"\b\nExample: {command.example}\nMore:    {f'framevit help {command.topic}'.rstrip()}"


def _summary(command: Command, room: int) -> str:
    """The first line of a command's help, cut to the room that there is."""
    return TyperCommand(None, help=command.function.__doc__).get_short_help_str(room)
