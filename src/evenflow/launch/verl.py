"""A recipe as a run of verl: its overrides and its environment.

Pure: `questions` writes the files. Checked against the real configuration of verl 0.9.1
(tests_verl).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from evenflow.config import TrainConfig
from evenflow.config.effect import cautions, without_effect
from evenflow.errors import UserError
from evenflow.launch.job import Cluster, Files, Job
from evenflow.launch.losses import ACTOR, of_objective
from evenflow.launch.refused import CORRECTIONS, complain, refuse, too_few
from evenflow.objectives import Surrogate

VARIABLES = "+ray_kwargs.ray_init.runtime_env.env_vars"
ROLLOUT, MODEL = "actor_rollout_ref.rollout", "actor_rollout_ref.model"
FULL = dict.fromkeys(("param_dtype", "reduce_dtype", "buffer_dtype"), "fp32")


def job(config: TrainConfig, files: Files, cluster: Cluster, passed_on: Sequence[str] = ()) -> Job:
    """The run of a recipe. UserError, a sentence a line, for what verl has no counterpart for."""
    refuse(config)
    objective, environment, _ = of_objective(config)
    complain(too_few(config, files.questions, cluster))
    overrides = {
        **objective,
        **of_data(config, files),
        **of_model(config, files),
        **of_learning(config),
        **of_rollout(config),
        **of_reward(config, files),
        **of_run(config, files, cluster),
    }
    for word in passed_on:
        if "=" not in word and not word.startswith("~"):
            raise UserError(f"{word!r}: behind -- stand verl's own overrides, as key=value")
    return Job(overrides, passed_on, environment, [*remarks(config), *files.remarks])


def remarks(config: TrainConfig) -> list[str]:
    """What of the recipe changes nothing there, and what is seldom meant."""
    rollout = config.rollout.model_copy(update={"engine": "vllm"})  # which verl always takes
    config = config.model_copy(update={"rollout": rollout})
    found = {"no effect": without_effect(config), "take care": [*cautions(config), *unlike(config)]}
    return [f"{kind}: {sentence}" for kind, sentences in found.items() for sentence in sentences]


def unlike(config: TrainConfig) -> Iterator[str]:
    """What verl computes otherwise, though it has it."""
    objective = config.build_objective()
    beside = isinstance(objective, Surrogate) and (
        objective.entropy_bonus > 0 or (objective.kl_coefficient > 0 and objective.kl_in == "loss")
    )
    if beside and config.train.correction.kind in CORRECTIONS:
        yield (
            "train.correction: verl multiplies the policy's loss alone; its KL and its entropy "
            "bonus, which are multiplied here, stay as they are"
        )


def of_data(config: TrainConfig, files: Files) -> dict[str, Any]:
    """Questions and their lengths."""
    data = config.data
    return {
        "data.train_files": str(files.train),
        "data.val_files": str(files.test or files.train),  # verl wants one; see of_run
        "data.train_batch_size": config.rollout.questions,
        "data.max_prompt_length": data.max_prompt_length,
        "data.max_response_length": config.rollout.max_completion_length,
        "data.filter_overlong_prompts": data.long_prompts == "drop",
        "data.truncation": "error",
        "data.seed": config.seed,
        **{
            f"+data.apply_chat_template_kwargs.{name}": value
            for name, value in data.chat_template_kwargs.items()
        },
    }


def of_model(config: TrainConfig, files: Files) -> dict[str, Any]:
    """The model, its adapter and its arithmetic."""
    model, train = config.model, config.train
    found: dict[str, Any] = {
        f"{MODEL}.path": model.path,
        f"{MODEL}.enable_gradient_checkpointing": model.gradient_checkpointing is not False,
        f"{ACTOR}.strategy": "fsdp2",
    }
    template = files.template or (
        None if config.data.chat_template == "auto" else config.data.chat_template
    )
    if template is not None:
        found[f"{MODEL}.custom_chat_template"] = template
    if model.attention != "sdpa":
        found[f"+{MODEL}.override_config.attn_implementation"] = model.attention
    if model.lora is not None:
        found |= {
            f"{MODEL}.lora_rank": model.lora.rank,
            f"{MODEL}.lora_alpha": int(model.lora.alpha),
            f"{MODEL}.target_modules": model.lora.target_modules,
            f"{ROLLOUT}.load_format": "safetensors",  # vLLM needs the base's weights once
        }
    if model.dtype == "float32":
        found |= {
            f"+{part}.fsdp_config.mixed_precision": FULL
            for part in (ACTOR, "actor_rollout_ref.ref")
        }
        found[f"{ROLLOUT}.dtype"] = "float32"
    if isinstance(train.compile, bool):
        found |= {
            f"{ACTOR}.use_torch_compile": train.compile,
            f"{ACTOR}.fsdp_config.use_torch_compile": train.compile,
        }
    return found


def of_learning(config: TrainConfig) -> dict[str, Any]:
    """Batches and the optimiser."""
    train, rollout = config.train, config.rollout
    longest = config.data.max_prompt_length + rollout.max_completion_length
    found: dict[str, Any] = {
        f"{ACTOR}.ppo_mini_batch_size": train.mini_batch_questions or rollout.questions,
        f"{ACTOR}.ppo_epochs": train.epochs,
        f"{ACTOR}.use_dynamic_bsz": True,
        f"{ACTOR}.ppo_max_token_len_per_gpu": max(train.micro_batch_tokens, longest),
        f"{ACTOR}.data_loader_seed": config.seed,
        f"{ACTOR}.fsdp_config.seed": config.seed,
        f"{ACTOR}.optim.lr": train.learning_rate,
        f"{ACTOR}.optim.lr_warmup_steps": train.warmup_steps,
        f"{ACTOR}.optim.lr_scheduler_type": train.schedule,
        f"{ACTOR}.optim.weight_decay": train.weight_decay,
        f"{ACTOR}.optim.betas": list(train.betas),
        f"{ACTOR}.optim.clip_grad": train.max_grad_norm,
    }
    if kind := CORRECTIONS.get(train.correction.kind):
        found["algorithm.rollout_correction.rollout_is"] = kind
        correction = config.build_correction()
        assert correction is not None
        found["algorithm.rollout_correction.rollout_is_threshold"] = correction.limit
    return found


def of_rollout(config: TrainConfig) -> dict[str, Any]:
    """Sampling, in training and in evaluation."""
    rollout, evaluation = config.rollout, config.evaluation
    found: dict[str, Any] = {
        f"{ROLLOUT}.name": "vllm",
        f"{ROLLOUT}.n": rollout.num_generations,
        f"{ROLLOUT}.temperature": rollout.temperature,
        f"{ROLLOUT}.seed": config.seed,
        f"{ROLLOUT}.gpu_memory_utilization": rollout.gpu_share,
        f"{ROLLOUT}.tensor_model_parallel_size": 1,
        f"{ROLLOUT}.val_kwargs.n": evaluation.num_generations,
        f"{ROLLOUT}.val_kwargs.temperature": evaluation.temperature,
        f"{ROLLOUT}.val_kwargs.top_p": evaluation.top_p,
        f"{ROLLOUT}.val_kwargs.do_sample": evaluation.temperature > 0,
    }
    if rollout.max_batch != type(rollout).model_fields["max_batch"].default:
        found[f"{ROLLOUT}.max_num_seqs"] = rollout.max_batch
    return found


def of_reward(config: TrainConfig, files: Files) -> dict[str, Any]:
    """Our reward functions by verl's hook, and DAPO's penalty for overlong answers by verl's."""
    hook = "reward.custom_reward_function"
    found: dict[str, Any] = {
        f"{hook}.path": "pkg://evenflow.launch.reward",
        f"{hook}.name": "compute_score",
        f"+{hook}.reward_kwargs.recipe": str(files.recipe),
    }
    if files.opened_thought:
        found[f"+{hook}.reward_kwargs.opened_thoughts"] = files.opened_thought
    if config.reward.overlong_share:
        limit = config.rollout.max_completion_length
        buffer = "+reward.reward_kwargs.overlong_buffer_cfg"
        found |= {
            "reward.reward_manager.name": "dapo",
            "+reward.reward_kwargs.max_resp_len": limit,
            f"{buffer}.enable": True,
            f"{buffer}.len": max(1, round(config.reward.overlong_share * limit)),
            f"{buffer}.penalty_factor": 1.0,
            f"{buffer}.log": True,
        }
    return found


def epochs(config: TrainConfig, files: Files) -> int:
    """As many as the steps take. Where verl drops long prompts, nobody knows how many it keeps: an
    epoch a step, for the steps end the run as well."""
    if config.data.long_prompts == "drop":
        return config.train.steps
    return math.ceil(config.train.steps / max(1, files.questions // config.rollout.questions))


def of_run(config: TrainConfig, files: Files, cluster: Cluster) -> dict[str, Any]:
    """Steps, evaluation, checkpoints, logs, machines."""
    train, every = config.train, config.checkpoint.every
    evaluated = files.test is not None and config.evaluation.every > 0
    found: dict[str, Any] = {
        "trainer.total_training_steps": train.steps,
        "trainer.total_epochs": epochs(config, files),
        "trainer.test_freq": config.evaluation.every if evaluated else -1,
        "trainer.val_before_train": evaluated,
        "trainer.save_freq": every or train.steps,
        "trainer.max_actor_ckpt_to_keep": config.checkpoint.keep,
        "trainer.logger": ["console", "file", *config.log.backends],
        f"{VARIABLES}.VERL_FILE_LOGGER_PATH": str(files.log),
        "trainer.project_name": config.log.project,
        "trainer.experiment_name": files.folder.name,
        "trainer.default_local_dir": str(files.folder),
        "trainer.nnodes": cluster.nodes,
        "trainer.n_gpus_per_node": cluster.gpus_per_node,
    }
    if evaluated:
        found["trainer.log_val_generations"] = config.evaluation.samples
    if config.checkpoint.weights_only:
        found[f"{ACTOR}.checkpoint.save_contents"] = ["model"]
    return found
