"""The C interface of kernels, whatever they compute: a struct of tensors and numbers, and functions that take it."""

from evoflash.problems.c_interface.declaration import MAX_RANK, CInterface, NumberMember, TensorMember

__all__ = ["MAX_RANK", "CInterface", "NumberMember", "TensorMember"]
