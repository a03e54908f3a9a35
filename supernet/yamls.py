"""YAML in which a name stands once; PyYAML itself takes the last of several without a word."""

from typing import Any, ClassVar

import yaml


class Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Plain data; ComposerError, which says where, for a name that a mapping has twice."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node] | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        there = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in there:
                    said = f"{key.value!r} stands twice"
                    raise yaml.composer.ComposerError(None, None, said, key.start_mark)
                there.add(key.value)
        return node


class Texts(Loader):
    """The same with texts for all scalars but null, as they are written."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in each if tag.endswith((":null", ":merge"))]
        for first, each in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
