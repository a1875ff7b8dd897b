"""Register `reft` and `grun` with PEFT, whose methods are the members of a closed enumeration."""

from peft import PeftType
from peft.utils import register_peft_method

from expunge.edits.grun.config import GrunConfig, ReftConfig
from expunge.edits.grun.model import GrunModel, ReftModel


def register() -> None:
    """Register both methods; a second call changes nothing."""
    for name, config, model in (("reft", ReftConfig, ReftModel), ("grun", GrunConfig, GrunModel)):
        if name.upper() not in PeftType.__members__:
            _add_peft_type(name.upper())
            register_peft_method(name=name, config_cls=config, model_cls=model, prefix=model.prefix)


def _add_peft_type(name: str) -> None:
    member = str.__new__(PeftType, name)
    member.__dict__.update(_name_=name, _value_=name)
    type.__setattr__(PeftType, name, member)
    PeftType._member_names_.append(name)
    PeftType._member_map_[name] = member
    PeftType._value2member_map_[name] = member
