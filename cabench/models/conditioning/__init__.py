"""Conditioning methods, one file each. Importing this package registers them."""

from cabench.models.conditioning import adaln as adaln
from cabench.models.conditioning import adaln_shared as adaln_shared
from cabench.models.conditioning import adaln_single as adaln_single
from cabench.models.conditioning import adaln_zero as adaln_zero
from cabench.models.conditioning import can as can
from cabench.models.conditioning import class_tokens as class_tokens
from cabench.models.conditioning import cross_attention as cross_attention
from cabench.models.conditioning import expert_choice as expert_choice
from cabench.models.conditioning import film as film
from cabench.models.conditioning import hyper_lora as hyper_lora
from cabench.models.conditioning import joint_attention as joint_attention
from cabench.models.conditioning import kernel_mixture as kernel_mixture
from cabench.models.conditioning import lora as lora
from cabench.models.conditioning import map_branch as map_branch
from cabench.models.conditioning import map_concat as map_concat
from cabench.models.conditioning import modulator as modulator
from cabench.models.conditioning import registers as registers
from cabench.models.conditioning import scale_gate as scale_gate
from cabench.models.conditioning import text_kernels as text_kernels
from cabench.models.conditioning import timestep_mixture as timestep_mixture
from cabench.models.conditioning import timestep_moe as timestep_moe
from cabench.models.conditioning import token_modulation as token_modulation
from cabench.models.conditioning import tokens as tokens
