"""Holds a CycloneDX 1.6 document on stdin against the schemas in a directory,
and its references against each other; prints what is wrong."""

import json
import pathlib
import sys

import jsonschema

SCHEMAS = pathlib.Path(sys.argv[1])


def read(name):
    return json.loads((SCHEMAS / f"{name}.SNAPSHOT.schema.json").read_text())


def components(document):
    for component in document.get("components", []):
        yield component
        yield from components(component)


def wrong(document):
    schema, others = read("bom-1.6"), [read("spdx"), read("jsf-0.82")]
    resolver = jsonschema.RefResolver.from_schema(schema, store={other["$id"]: other for other in others})
    for error in jsonschema.Draft7Validator(schema, resolver=resolver).iter_errors(document):
        yield f"{list(error.path)}: {error.message[:200]}"
    refs = [component["bom-ref"] for component in components(document)]
    refs.append(document["metadata"]["component"]["bom-ref"])
    yield from (f"{ref} is there twice" for ref in set(refs) if refs.count(ref) > 1)
    edges = document["dependencies"]
    named = {edge["ref"] for edge in edges} | {ref for edge in edges for ref in edge["dependsOn"]}
    yield from (f"{ref} is nowhere" for ref in named - set(refs))


found = list(wrong(json.load(sys.stdin)))
print("\n".join(found))
sys.exit(bool(found))
