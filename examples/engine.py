"""An engine of one's own: one token after the other, and the whole text anew for each of them.

cd examples
evenflow train ../recipes/countdown.yaml rollout.engine=engine:Plain rollout.questions=2
"""

import torch

from evenflow.policy.policy import evaluating
from evenflow.rollout import Group, Limits
from evenflow.rollout.decoding import decoder_of


class Plain:
    """Samples from the policy's own model, without a cache."""

    def __init__(self, tokenizer, max_batch):
        self.decode = decoder_of(tokenizer)

    def update(self, policy, version):
        self.policy, self.version = policy, version

    def limits(self, prompts):
        return Limits()

    def groups(self, prompts, count, sampling, *, seed):
        if not sampling.temperature or sampling.top_p < 1 or sampling.top_k:
            raise ValueError("samples at a temperature above 0, and from all tokens")
        for place, prompt in enumerate(prompts):
            number = hash((seed, place)) if isinstance(seed, int) else seed[place]
            generator = torch.Generator(self.policy.device).manual_seed(number)
            rows = [self.answer(prompt.ids, sampling, generator) for _ in range(count)]
            answers, logprobs = map(list, zip(*rows, strict=True))
            ended = [ids[-1] in sampling.stop_ids for ids in answers]
            spoken = [ids[:-1] if end else ids for ids, end in zip(answers, ended, strict=True)]
            texts = self.decode(prompt.ids, spoken)
            yield Group(place, prompt, answers, logprobs, texts, ended, self.version)

    @torch.no_grad()
    def answer(self, prompt, sampling, generator):
        """Token ids up to the first that ends it, and ln π of each."""
        ids, logprobs = [], []
        while len(ids) < sampling.max_tokens and not (ids and ids[-1] in sampling.stop_ids):
            text = torch.tensor([[*prompt, *ids]], device=self.policy.device)
            with evaluating(self.policy.model) as model, self.policy.autocast():
                logits = model(input_ids=text).logits[0, -1].float()
            each = (logits / sampling.temperature).log_softmax(-1)  # (V,)
            ids.append(torch.multinomial(each.exp(), 1, generator=generator).item())
            logprobs.append(each[ids[-1]].item())
        return ids, logprobs
