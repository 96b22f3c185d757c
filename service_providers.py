"""Which engine serves each stage, and why; the engines themselves live in `providers/`.

Adding a provider is one module there and one row here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pydantic import SecretStr, ValidationError

from config import Settings, engine_names, read_environment
from profiles import EngineSpec, Profile, Profiles, load_profiles, patched
from protocol import ConfigError, Stage
from providers import configured, endpoints
from providers.base import LlmProvider, Provider, SttProvider, TtsProvider
from providers.failover_llm import FailoverLlmProvider
from providers.failover_stt import FailoverSttProvider
from providers.failover_tts import FailoverTtsProvider
from providers.health import StageHealth
from providers.script import Script
from providers.script_file import DEFAULT_SCRIPT, load_script
from providers.voice_map import MappedVoicesProvider

logger = logging.getLogger("realtime.engines")

_MOST_NAMES_REMEMBERED = 200


class VadEngine(Protocol):
    """The process-wide turn detector: sessions open streams of it, the process closes it."""

    def open(self, on_start: Callable[[int], None], on_stop: Callable[[int], None]) -> Any: ...
    async def close(self) -> None: ...


class TurnJudge(Protocol):
    """The process-wide judge of turns: sessions ask it, the process closes it."""

    def prepare(self) -> None: ...
    def ask(self, audio: Any, answered: Callable[[float], None]) -> Any: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """One row of the registry.

    `build` imports its module only when the row is chosen, so that what is not used costs neither
    start-up time nor memory.
    """

    stage: Stage
    name: str
    build: Callable[[Settings, Script], Any]
    configured: Callable[[Settings], str | None] = lambda settings: None
    """Why `auto` would take it: what was set for it; None when nothing was."""
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    """What a profile may tell it, by the leaf of the settings that it takes the place of."""
    share: Mapping[str, Callable[[Any, Any], Any]] = field(
        default_factory=dict[str, Callable[[Any, Any], Any]]
    )
    """Options that need no engine of their own: makes, of a running one, one with that value."""


def _pocketsphinx(settings: Settings, script: Script) -> SttProvider:
    from providers.pocketsphinx_stt import PocketsphinxProvider

    phrases = settings.stt.phrases or script.stt.phrases
    mode = settings.stt.mode
    if mode == "auto":
        mode = "phrases" if settings.stt.phrases or script.stt.mode == "phrases" else "general"
    return PocketsphinxProvider(
        mode=mode,
        phrases=phrases,
        workers=settings.stt.workers,
        language=settings.stt.language or "en",
    )


def _scripted_stt(settings: Settings, script: Script) -> SttProvider:
    from providers.scripted_stt import ScriptedSttProvider

    return ScriptedSttProvider(script.transcripts, script.latency, script.seed)


def _scripted_llm(settings: Settings, script: Script) -> LlmProvider:
    from providers.scripted_llm import ScriptedLlmProvider

    return ScriptedLlmProvider(settings.llm.script or script)


def _espeak(settings: Settings, script: Script) -> TtsProvider:
    from providers.espeak_tts import EspeakProvider

    return EspeakProvider(voice=settings.tts.voice, rate_wpm=settings.tts.rate_wpm)


def _tone(settings: Settings, script: Script) -> TtsProvider:
    from providers.tone_tts import ToneProvider

    return ToneProvider(first_audio_ms=script.latency.tts_first_ms)


def _local_whisper(settings: Settings, script: Script) -> SttProvider:
    from providers.local_whisper import LocalWhisperProvider

    stt = settings.stt
    return LocalWhisperProvider(
        stt.whisper_model or "base",
        language=stt.language,
        device=stt.whisper_device,
        compute_type=stt.whisper_compute_type,
        allow_download=stt.whisper_allow_download,
        workers=stt.whisper_workers,
        threads=stt.whisper_threads,
        timeout_s=stt.request_timeout_ms / 1000,
    )


def _deepgram(settings: Settings, script: Script) -> SttProvider:
    from providers.deepgram_stt import DeepgramProvider

    stt = settings.stt
    return DeepgramProvider(
        stt.deepgram_api_key,
        model=stt.deepgram_model,
        language=stt.deepgram_language or stt.language or "multi",
        base_url=stt.deepgram_base_url,
    )


def _openai_stt(settings: Settings, script: Script) -> SttProvider:
    from providers.openai_stt import OpenAiSttProvider

    return OpenAiSttProvider(
        endpoints.transcription(settings),
        language=settings.stt.language,
        timeout_s=settings.stt.request_timeout_ms / 1000,
    )


def _siliconflow_stt(settings: Settings, script: Script) -> SttProvider:
    from providers.openai_stt import SiliconFlowSttProvider

    return SiliconFlowSttProvider(
        endpoints.siliconflow(settings, "stt"),
        timeout_s=settings.stt.request_timeout_ms / 1000,
    )


def _openai_llm(settings: Settings, script: Script) -> LlmProvider:
    from providers.openai_llm import OpenAiLlmProvider

    return OpenAiLlmProvider(endpoints.openai(settings), **_llm_options(settings))


def _siliconflow_llm(settings: Settings, script: Script) -> LlmProvider:
    from providers.openai_llm import SiliconFlowLlmProvider

    endpoint = endpoints.siliconflow(settings, "llm")
    return SiliconFlowLlmProvider(endpoint, **_llm_options(settings))


def _ollama(settings: Settings, script: Script) -> LlmProvider:
    from providers.openai_llm import OllamaLlmProvider

    return OllamaLlmProvider(endpoints.ollama(settings), **_llm_options(settings))


def _llm_options(settings: Settings) -> dict[str, Any]:
    llm = settings.llm
    return {"images": llm.images, "stall_s": llm.stall_timeout_ms / 1000}


def _elevenlabs(settings: Settings, script: Script) -> TtsProvider:
    from providers.elevenlabs_tts import ElevenLabsProvider

    tts = settings.tts
    return ElevenLabsProvider(
        tts.elevenlabs_api_key,
        voice_id=tts.elevenlabs_voice_id,
        model=tts.elevenlabs_model,
        base_url=tts.elevenlabs_base_url,
        stall_s=tts.stall_timeout_ms / 1000,
    )


def _edge_tts(settings: Settings, script: Script) -> TtsProvider:
    from providers.edge_tts import EdgeTtsProvider

    tts = settings.tts
    return EdgeTtsProvider(voice=tts.edge_voice, stall_s=tts.stall_timeout_ms / 1000)


def _openai_tts(settings: Settings, script: Script) -> TtsProvider:
    from providers.openai_tts import OpenAiTtsProvider

    tts = settings.tts
    return OpenAiTtsProvider(
        endpoints.speech(settings),
        voice=tts.openai_voice,
        sample_rate_hz=tts.openai_sample_rate_hz,
        stall_s=tts.stall_timeout_ms / 1000,
    )


def _siliconflow_tts(settings: Settings, script: Script) -> TtsProvider:
    from providers.openai_tts import SiliconFlowTtsProvider

    return SiliconFlowTtsProvider(
        endpoints.siliconflow(settings, "tts"),
        voice=settings.siliconflow.tts_voice,
        stall_s=settings.tts.stall_timeout_ms / 1000,
    )


_SCRIPT = {"script": "llm.script"}
_OPENAI = {"base_url": "openai.base_url", "api_key": "openai.api_key"}
_SILICONFLOW = {"base_url": "siliconflow.base_url", "api_key": "siliconflow.api_key"}


REGISTRY: tuple[Choice, ...] = (
    Choice(
        Stage.STT,
        "pocketsphinx",
        _pocketsphinx,
        options={"language": "stt.language", "phrases": "stt.phrases", **_SCRIPT},
    ),
    Choice(Stage.STT, "scripted", _scripted_stt, options=_SCRIPT),
    Choice(
        Stage.STT,
        "local_whisper",
        _local_whisper,
        configured.local_whisper,
        options={"model": "stt.whisper_model", "language": "stt.language"},
        share={"language": lambda whisper, language: whisper.with_language(language)},
    ),
    Choice(
        Stage.STT,
        "deepgram",
        _deepgram,
        configured.deepgram,
        options={
            "model": "stt.deepgram_model",
            "language": "stt.deepgram_language",
            "base_url": "stt.deepgram_base_url",
            "api_key": "stt.deepgram_api_key",
        },
    ),
    Choice(
        Stage.STT,
        "openai_whisper",
        _openai_stt,
        configured.openai_stt,
        options={
            "model": "stt.whisper_model",
            "language": "stt.language",
            "base_url": "stt.openai_base_url",
            "api_key": "stt.openai_api_key",
        },
    ),
    Choice(
        Stage.STT,
        "siliconflow",
        _siliconflow_stt,
        configured.siliconflow,
        options={"model": "siliconflow.stt_model", **_SILICONFLOW},
    ),
    Choice(Stage.LLM, "scripted", _scripted_llm, configured.script, options=_SCRIPT),
    Choice(
        Stage.LLM,
        "openai",
        _openai_llm,
        configured.openai_llm,
        options={"model": "openai.model", **_OPENAI},
    ),
    Choice(
        Stage.LLM,
        "siliconflow",
        _siliconflow_llm,
        configured.siliconflow,
        options={"model": "siliconflow.model", **_SILICONFLOW},
    ),
    Choice(
        Stage.LLM,
        "ollama",
        _ollama,
        configured.ollama,
        options={"model": "ollama.model", "base_url": "ollama.base_url"},
    ),
    Choice(
        Stage.TTS,
        "espeak",
        _espeak,
        options={"voice": "tts.voice"},
        share={"voice": lambda espeak, voice: espeak.with_voice(voice)},
    ),
    Choice(Stage.TTS, "tone", _tone, options=_SCRIPT),
    Choice(
        Stage.TTS,
        "elevenlabs",
        _elevenlabs,
        configured.elevenlabs,
        options={
            "model": "tts.elevenlabs_model",
            "voice": "tts.elevenlabs_voice_id",
            "base_url": "tts.elevenlabs_base_url",
            "api_key": "tts.elevenlabs_api_key",
        },
    ),
    Choice(Stage.TTS, "edge_tts", _edge_tts, options={"voice": "tts.edge_voice"}),
    Choice(
        Stage.TTS,
        "openai_tts",
        _openai_tts,
        configured.openai_tts,
        options={
            "model": "tts.openai_model",
            "voice": "tts.openai_voice",
            "base_url": "tts.openai_base_url",
            "api_key": "tts.openai_api_key",
        },
    ),
    Choice(
        Stage.TTS,
        "siliconflow",
        _siliconflow_tts,
        configured.siliconflow,
        options={
            "model": "siliconflow.tts_model",
            "voice": "siliconflow.tts_voice",
            **_SILICONFLOW,
        },
    ),
)
"""Every provider. `auto` takes the first row of a stage that is configured, else the first row."""


def choose(stage: Stage, wanted: str, settings: Settings | None = None) -> tuple[Choice, str]:
    """The row for a stage and why it was taken.

    Args:
        stage: Which stage.
        wanted: A provider's name, or `auto`.
        settings: What `auto` looks at; None is as if nothing were configured.

    Raises:
        ConfigError: there is no such provider, naming those there are.
    """
    rows = [row for row in REGISTRY if row.stage is stage]
    variable = f"{stage.upper()}_PROVIDER"
    if wanted == "auto":
        for row in rows:
            if settings is not None and (reason := row.configured(settings)):
                return row, reason
        return rows[0], "embedded: nothing else is configured"
    for row in rows:
        if row.name == wanted:
            return row, f"{variable}={wanted}"
    known = ", ".join(["auto", *(row.name for row in rows)])
    raise ConfigError(variable, f"there is no provider '{wanted}'; choose one of: {known}")


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
        values = (self._value(name) for name in names)
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
                running = make(running, self._value(name))
            return running

    def _shares(self, name: str) -> bool:
        return name in self.choice.share

    def _value(self, name: str) -> Any:
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
    names = sorted(profiles.by_name, key=lambda name: name != profiles.default)
    return [_plan_profile(name, profiles, settings, environ) for name in names]


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


class _Workshop:
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
        self._alive: list[tuple[Stage, Provider]] = list(self._default.providers.items())
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
        workshop = _Workshop()
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
        engines._alive = [(told[0], built) for told, built in workshop.built.items()]
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
        if self._default.name and model not in self._unknown_models:
            # Clients send names of their own making; the log must not grow with them for ever.
            if len(self._unknown_models) < _MOST_NAMES_REMEMBERED:
                self._unknown_models.add(model)
                logger.warning(
                    "no profile is called %.80r; %s serves instead", model, self._default.name
                )
        return self._default

    async def start(self) -> None:
        """Bring all engines up, side by side.

        Raises:
            ConfigError: a setting an engine cannot work with.
            ProviderError: an engine that does not come up.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for stage, provider in self._alive:
                    tasks.create_task(provider.start(), name=f"start {stage}")
        except BaseExceptionGroup as group:
            await self.close()
            raise _first(group) from group

    async def close(self) -> None:
        """Release everything; leaves no task, thread or process behind."""
        for stage, provider in self._alive:
            try:
                await provider.close()
            except Exception:
                # One engine that does not go down quietly must not keep the others up.
                logger.exception("the %s engine did not close cleanly", stage)
        await self.vad.close()
        if self.judge is not None:
            await self.judge.close()

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
