"""Which engines serve each profile, each distinct one built once; `providers/` has the engines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pydantic import SecretStr, ValidationError

from config import Settings, read_environment
from profiles import EngineSpec, Profile, Profiles, load_profiles, patched
from protocol import ConfigError, Stage
from providers.base import LlmProvider, Provider, SttProvider, TtsProvider
from providers.failover_llm import FailoverLlmProvider
from providers.failover_stt import FailoverSttProvider
from providers.failover_tts import FailoverTtsProvider
from providers.health import StageHealth
from providers.registry import REGISTRY, Choice, choose
from providers.script_file import DEFAULT_SCRIPT, load_script
from providers.voice_map import MappedVoicesProvider
from setting_kinds import engine_names

__all__ = ("REGISTRY", "Engines", "Stack", "Workshop", "choose", "plan")

logger = logging.getLogger("realtime.engines")

_MOST_NAMES_REMEMBERED = 200


class VadEngine(Protocol):
    """The process-wide turn detector: sessions open streams of it, the process closes it.

    Attributes:
        samples_pending: Audio (16 kHz) that waits for it.
        windows_scored: How often its model has looked at a window.
        windows_skipped: Windows that were silent enough to do without.
    """

    samples_pending: int
    windows_scored: int
    windows_skipped: int

    @property
    def streams_waiting(self) -> int: ...
    def open(self, *args: Any, **kwargs: Any) -> Any: ...
    async def close(self) -> None: ...


class TurnJudge(Protocol):
    """The process-wide judge of turns: sessions ask it, the process closes it."""

    def prepare(self) -> None: ...
    def ask(self, audio: Any, answered: Callable[[float], None]) -> Any: ...
    async def close(self) -> None: ...


STAGES = (Stage.STT, Stage.LLM, Stage.TTS)


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """One engine that is to be built.

    Attributes:
        settings: The process's settings with what a profile changes of them.
        why: What made the choice.
        profiles, place: Where it stands in the profiles file, for errors.
        profile, voices: Whose voices, and the engine's by the names that clients use.
    """

    choice: Choice
    settings: Settings
    why: str
    profiles: Profiles | None = None
    place: str = ""
    profile: str = ""
    voices: Mapping[str, str] = field(default_factory=dict[str, str])

    def told(self, *, shared: bool = False) -> tuple[Any, ...]:
        """What distinguishes the engine; with `shared`, what takes an engine of its own."""
        names = sorted(name for name in self.choice.options if not (shared and self._shares(name)))
        values = (self.value(name) for name in names)
        return (self.choice.stage, self.choice.name, *values)

    def build(self) -> Any:
        """The provider; not started.

        Raises:
            ConfigError: a setting it cannot work with.
        """
        with self._refusals():
            return self.choice.build(
                self.settings, load_script(self.settings.llm.script or DEFAULT_SCRIPT)
            )

    def build_from(self, running: Any) -> Any:
        """The provider on top of one that has the same engine."""
        with self._refusals():
            for name, make in self.choice.share.items():
                running = make(running, self.value(name))
            return running

    def _shares(self, name: str) -> bool:
        return name in self.choice.share

    def value(self, name: str) -> Any:
        """What an option is set to; "" for one the engine has not."""
        if name not in self.choice.options:
            return ""
        section, leaf = self.choice.options[name].split(".")
        return getattr(getattr(self.settings, section), leaf)

    @contextmanager
    def _refusals(self) -> Generator[None]:
        """Name the place in the file when what is wrong may stand there."""
        try:
            yield
        except ConfigError as error:
            if self.profiles is None:
                raise
            raise self.profiles.error(self.place, str(error)) from error


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What one profile is to be made of; its name is "" where there is no profiles file."""

    name: str
    settings: Settings
    stages: Mapping[Stage, tuple[EnginePlan, ...]]


def plan(settings: Settings, environ: Mapping[str, str] | None = None) -> list[StackPlan]:
    """Choose the engines of each profile, the default one first; nothing is built yet.

    Args:
        settings: The process's settings.
        environ: Where the keys are that profiles name; None is the environment and `.env`.

    Raises:
        ConfigError: a choice that there is not, naming the variable, or file, profile and key.
    """
    profiles = load_profiles(settings)
    if profiles is None:
        stages = {stage: _from_environment(stage, settings) for stage in STAGES}
        return [StackPlan("", settings, stages)]
    environ = read_environment(environ) if environ is None else environ
    return [_plan_profile(name, profiles, settings, environ) for name in profiles.names]


def _plan_profile(
    name: str, profiles: Profiles, settings: Settings, environ: Mapping[str, str]
) -> StackPlan:
    profile = profiles.by_name[name]
    stages: dict[Stage, tuple[EnginePlan, ...]] = {}
    for stage in STAGES:
        specs = _specs(profile, stage)
        if specs is None:
            stages[stage] = tuple(
                replace(engine, profile=name) for engine in _from_environment(stage, settings)
            )
            continue
        stages[stage] = tuple(
            _plan_engine(stage, spec, index, name, profiles, settings, environ)
            for index, spec in enumerate(specs)
        )
    return StackPlan(name, profile.over(settings), stages)


def _specs(profile: Profile, stage: Stage) -> tuple[EngineSpec, ...] | None:
    match stage:
        case Stage.STT:
            return profile.stt
        case Stage.LLM:
            return profile.llm
        case _:
            return profile.tts


def _plan_engine(
    stage: Stage,
    spec: EngineSpec,
    index: int,
    profile: str,
    profiles: Profiles,
    settings: Settings,
    environ: Mapping[str, str],
) -> EnginePlan:
    place = f"profile {profile!r}, {stage}.{index}"
    try:
        choice, why = choose(stage, spec.provider, settings)
    except ConfigError as error:
        problem = str(error).removeprefix(f"{error.variable}: ")
        raise profiles.error(f"{place}.provider", problem) from None
    changes: dict[str, Any] = {}
    for option, value in spec.options().items():
        known = "api_key" if option == "api_key_env" else option
        if known not in choice.options:
            allowed = [f"{o}_env" if o == "api_key" else o for o in choice.options]
            if stage is Stage.TTS:
                allowed.append("voices")
            raise profiles.error(
                f"{place}.{option}",
                f"{choice.name} takes no such thing; it takes: {', '.join(sorted(allowed))}",
            )
        if option == "api_key_env":
            if not environ.get(value):
                raise profiles.error(f"{place}.{option}", f"the variable {value} is not set")
            value = SecretStr(environ[value].strip())
        elif option == "script":
            value = profiles.path.parent / value
        changes[choice.options[known]] = value
    if spec.voices and stage is not Stage.TTS:
        raise profiles.error(f"{place}.voices", "only tts has voices")
    try:
        changed = patched(settings, changes)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        leaf = f".{problem['loc'][0]}"
        option = next((o for o, path in choice.options.items() if path.endswith(leaf)), leaf)
        told = problem["msg"].removeprefix("Input should be ")
        raise profiles.error(f"{place}.{option}", f"must be {told}") from None
    if spec.provider != "auto":
        why = f"profile {profile}"
    return EnginePlan(choice, changed, why, profiles, place, profile, spec.voices)


def _from_environment(stage: Stage, settings: Settings) -> tuple[EnginePlan, ...]:
    """The engines that the variables name; a backup that `auto` has taken already is left out."""
    wanted: str = getattr(settings, stage).provider
    plans: dict[str, EnginePlan] = {}
    for name in engine_names(wanted):
        choice, why = choose(stage, name, settings)
        if stage is Stage.STT and name == "auto":
            script = load_script(settings.llm.script or DEFAULT_SCRIPT)
            if script.stt.mode == "scripted":
                choice, why = choose(stage, "scripted")[0], "the script says stt: mode: scripted"
        plans.setdefault(choice.name, EnginePlan(choice, settings, why))
    return tuple(plans.values())


@dataclass(frozen=True, slots=True)
class Stack:
    """What the sessions of one profile run on.

    Attributes:
        name: The profile's, "" where there is no profiles file.
        settings: The profile's; None where those of the process hold.
        health: What has become of its latest turns.
    """

    name: str
    stt: SttProvider
    llm: LlmProvider
    tts: TtsProvider
    vad: VadEngine
    judge: TurnJudge | None = None
    settings: Settings | None = None
    why: Mapping[Stage, str] = field(default_factory=dict[Stage, str])
    health: StageHealth = field(default_factory=StageHealth)

    @property
    def providers(self) -> dict[Stage, Provider]:
        """The provider of each stage."""
        return {Stage.STT: self.stt, Stage.LLM: self.llm, Stage.TTS: self.tts}


class Workshop:
    """Builds engines, each distinct one once."""

    def __init__(self) -> None:
        self.built: dict[tuple[Any, ...], Any] = {}
        self._owners: dict[tuple[Any, ...], tuple[tuple[Any, ...], Any]] = {}

    def engine(self, plan: EnginePlan) -> Any:
        """The provider of a plan."""
        told = plan.told()
        if told not in self.built:
            dear = plan.told(shared=True)
            if dear in self._owners:
                self.built[told] = plan.build_from(self._owners[dear][1])
            else:
                self.built[told] = plan.build()
                self._owners[dear] = (told, self.built[told])
        provider = self.built[told]
        if plan.choice.stage is Stage.TTS and plan.profile:
            return MappedVoicesProvider(provider, plan.profile, plan.voices)
        return provider

    def stage(self, plans: tuple[EnginePlan, ...], settings: Settings) -> Any:
        """The provider of a stage: the engine, or all of them as one."""
        engines = [self.engine(plan) for plan in plans]
        if len(engines) == 1:
            return engines[0]
        retry_s = settings.session.failover_retry_s
        match plans[0].choice.stage:
            case Stage.STT:
                return FailoverSttProvider(
                    Stage.STT,
                    engines,
                    deadline_s=settings.stt.final_timeout_ms / 1000,
                    retry_s=retry_s,
                )
            case Stage.LLM:
                return FailoverLlmProvider(
                    Stage.LLM,
                    engines,
                    deadline_s=settings.llm.ttft_timeout_ms / 1000,
                    retry_s=retry_s,
                )
            case _:
                return FailoverTtsProvider(
                    Stage.TTS,
                    engines,
                    deadline_s=settings.tts.first_audio_timeout_ms / 1000,
                    retry_s=retry_s,
                )


class Engines:
    """The engines of this process: a stack for each profile, and the one VAD engine.

    Args:
        stt, llm, tts: The providers of the default stack.
        why: For each stage, what made the choice.
        vad: The process-wide VAD engine.
        judge: Judges for `semantic_vad` whether a turn is complete; None leaves that to silence.

    Attributes:
        alive: Every provider there is, each once.
    """

    def __init__(
        self,
        stt: SttProvider,
        llm: LlmProvider,
        tts: TtsProvider,
        *,
        vad: VadEngine,
        judge: TurnJudge | None = None,
        why: dict[Stage, str] | None = None,
    ) -> None:
        self.vad = vad
        self.judge = judge
        self._default = Stack("", stt, llm, tts, vad, judge, why=why or {})
        self._stacks = {"": self._default}
        self.alive: list[tuple[Stage, Provider]] = list(self._default.providers.items())
        self._unknown_models: set[str] = set()

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        vad: VadEngine,
        judge: TurnJudge | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Engines:
        """Choose and build the providers; nothing is started yet.

        Raises:
            ConfigError: a setting that no engine can work with, naming the variable.
        """
        workshop = Workshop()
        stacks = [
            Stack(
                each.name,
                *(workshop.stage(each.stages[stage], settings) for stage in STAGES),
                vad=vad,
                judge=judge,
                settings=each.settings,
                why={
                    stage: ", backup: ".join(engine.why for engine in each.stages[stage])
                    for stage in STAGES
                },
            )
            for each in plan(settings, environ)
        ]
        first = stacks[0]
        engines = cls(first.stt, first.llm, first.tts, vad=vad, judge=judge)
        engines._default = first
        engines._stacks = {stack.name: stack for stack in stacks}
        engines.alive = [(told[0], built) for told, built in workshop.built.items()]
        return engines

    @property
    def stt(self) -> SttProvider:
        """Of the default stack."""
        return self._default.stt

    @property
    def llm(self) -> LlmProvider:
        """Of the default stack."""
        return self._default.llm

    @property
    def tts(self) -> TtsProvider:
        """Of the default stack."""
        return self._default.tts

    @property
    def stacks(self) -> tuple[Stack, ...]:
        """All stacks, the default one first."""
        return tuple(self._stacks.values())

    @property
    def providers(self) -> dict[Stage, Provider]:
        """The provider of each stage of the default stack."""
        return self._default.providers

    def stack(self, model: str) -> Stack:
        """The stack behind a model name; the default one for a name that no profile has."""
        found = self._stacks.get(model)
        if found is not None:
            return found
        if self._default.name:
            self._note_unknown(model)
        return self._default

    def _note_unknown(self, model: str) -> None:
        """Say once per name that the default profile stands in for it."""
        if model in self._unknown_models or len(self._unknown_models) >= _MOST_NAMES_REMEMBERED:
            return
        self._unknown_models.add(model)
        logger.warning("no profile is called %.80r; %s serves instead", model, self._default.name)

    async def start(self) -> None:
        """Bring all engines up, side by side.

        Raises:
            ConfigError: a setting an engine cannot work with.
            ProviderError: an engine that does not come up.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for stage, provider in self.alive:
                    tasks.create_task(provider.start(), name=f"start {stage}")
        except BaseExceptionGroup as group:
            await self.close()
            raise _first(group) from group

    async def close(self) -> None:
        """Release everything; leaves no task, thread or process behind."""
        for stage, provider in self.alive:
            try:
                await provider.close()
            except Exception:
                # One engine that does not go down quietly must not keep the others up.
                logger.exception("the %s engine did not close cleanly", stage)
        await self.vad.close()
        if self.judge is not None:
            await self.judge.close()

    def failing(self) -> list[dict[str, str]]:
        """The stages that do not serve at present, by what has become of their latest turns."""
        return [
            {"stage": stage, "engine": stack.providers[stage].name, "reason": reason}
            | ({"profile": stack.name} if stack.name else {})
            for stack in self.stacks
            for stage, reason in stack.health.failing().items()
            if stage in stack.providers
        ]

    def describe(self) -> list[tuple[str, str, str]]:
        """Rows of the start-up table: stage, engine, and why it was chosen."""
        rows = [("VAD", "silero (bundled with Pipecat, one model for all sessions)", "always")]
        for stack in self.stacks:
            named = f"{stack.name}: " if stack.name else ""
            for stage, provider in stack.providers.items():
                rows.append(
                    (
                        f"{named}{stage.upper()}",
                        provider.describe(),
                        stack.why.get(stage, "given"),
                    )
                )
        return rows


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group, however deeply nested."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
