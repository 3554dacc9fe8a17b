"""`main_ppo` on a CPU, on the Countdown base model that is shipped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import evenflow
from evenflow.tasks.countdown import Countdown

BASE = Path(evenflow.__file__).parent / "assets" / "countdown"
HERE = Path(__file__).parent
FULL = "{param_dtype:fp32,reduce_dtype:fp32,buffer_dtype:fp32}"


def write_questions(path: Path, count: int) -> Path:
    from datasets import Dataset

    rows = [
        {
            "data_source": "countdown",
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "reward_model": {"style": "rule", "ground_truth": row["target"]},
            "extra_info": {"index": i, "numbers": row["numbers"], "operators": row["operators"]},
        }
        for i, row in enumerate(Countdown().rows("train", count))
    ]
    Dataset.from_list(rows).to_parquet(path)
    return path


def settings(folder: Path, questions: Path, **changes: object) -> list[str]:
    """verl's settings for a small run in `folder`, with `changes` by dotted name."""
    actor, ref, rollout = (f"actor_rollout_ref.{part}" for part in ("actor", "ref", "rollout"))
    fields: dict[str, object] = {
        "trainer.v1.trainer_mode": "evenflow",
        "algorithm.adv_estimator": "grpo",
        "data.train_files": questions,
        "data.val_files": questions,
        "data.train_batch_size": 8,
        "data.max_prompt_length": 32,
        "data.max_response_length": 40,
        "data.dataloader_num_workers": 0,
        "data.filter_overlong_prompts": False,
        "data.seed": 0,
        "actor_rollout_ref.model.path": BASE,
        "actor_rollout_ref.model.custom_chat_template": "\"{{ messages[0]['content'] }}\"",
        "actor_rollout_ref.model.use_remove_padding": True,
        "actor_rollout_ref.model.enable_gradient_checkpointing": False,
        "+actor_rollout_ref.model.override_config.attn_implementation": "eager",
        f"{actor}.ppo_mini_batch_size": 8,
        f"{actor}.ppo_micro_batch_size_per_gpu": 64,
        f"{actor}.use_dynamic_bsz": False,
        f"{actor}.optim.lr": 1e-3,
        f"{actor}.use_kl_loss": True,
        f"{actor}.kl_loss_coef": 0,
        f"{ref}.log_prob_micro_batch_size_per_gpu": 64,
        f"{rollout}.name": "transformers_cpu",
        f"{rollout}.n": 8,
        f"{rollout}.tensor_model_parallel_size": 1,
        f"{rollout}.log_prob_micro_batch_size_per_gpu": 64,
        f"{rollout}.agent.num_workers": 1,
        f"{rollout}.calculate_log_probs": True,
        f"{rollout}.free_cache_engine": False,
        "reward.custom_reward_function.path": HERE / "countdown_reward.py",
        "reward.custom_reward_function.name": "compute_score",
        "reward.num_workers": 1,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
        "trainer.n_gpus_per_node": 1,
        "trainer.nnodes": 1,
        "trainer.device": "cpu",
        "trainer.logger": '["console","file"]',
        "trainer.val_before_train": False,
        "trainer.test_freq": -1,
        "trainer.total_epochs": 100,
        "trainer.default_local_dir": folder,
        "+ray_kwargs.ray_init.num_gpus": 1,
        "ray_kwargs.ray_init.num_cpus": 9,
        "+ray_kwargs.ray_init.include_dashboard": False,
        "+ray_kwargs.ray_init.object_store_memory": 500_000_000,
    }
    for part in (actor, ref):
        fields |= {
            f"{part}.strategy": "fsdp2",
            f"{part}.use_torch_compile": False,
            f"{part}.fsdp_config.use_torch_compile": False,
            f"{part}.fsdp_config.model_dtype": "fp32",
            f"+{part}.fsdp_config.mixed_precision": FULL,
        }
    return [f"{name}={value}" for name, value in (fields | changes).items()]


def start(folder: Path, arguments: list[str]) -> subprocess.Popen:
    """The run, or the next part of it. Its words go to `log.txt`, its metrics to a file a part:
    verl's logger begins with an empty one."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {
        "VERL_USE_EXTERNAL_MODULES": "cpu_platform,cpu_rollout,evenflow.plugins.verl",
        "VERL_FILE_LOGGER_PATH": str(folder / f"metrics{len(parts(folder))}.jsonl"),
        "HYDRA_FULL_ERROR": "1",
        "RAY_worker_niceness": "0",  # else whatever else runs on the machine goes first
        "PYTHONWARNINGS": "ignore",
    }
    with (folder / "log.txt").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "verl.trainer.main_ppo", *arguments],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def parts(folder: Path) -> list[dict[int, dict]]:
    """The metrics of each step, by part of the run."""
    found = []
    for path in sorted(folder.glob("metrics*.jsonl")):
        rows = map(json.loads, path.read_text().splitlines())
        found.append({row["step"]: row["data"] for row in rows})
    return found
