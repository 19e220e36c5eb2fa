"""The chart by Helm's own engine, run in the environment of `requirements.txt`: `chart.py FOLDER < values.json`.

Print JSON: the linter's messages from warnings on, an error of the values, and the text of each rendered template.
Manifests of Kubernetes' own kinds are checked against the schemas of two versions of its API.
"""

import json
import sys

import helm_python as helm
import kubernetes_validate
import yaml

# The oldest that Chart.yaml allows, and the newest with a schema.
VERSIONS = ("1.25.0", "1.37.0")
# Kinds of other projects' APIs, which these schemas lack.
OTHERS = ("keda.sh/", "monitoring.coreos.com/")
WARNING = 2


def main(folder: str) -> None:
    values = json.load(sys.stdin)
    linted = helm.lint(folder, values, strict=True)
    found = [message for message in linted["messages"] if message["severity"] >= WARNING]
    said = {"lint": [*found, *linted["errors"]], "error": None, "templates": {}}
    with helm.Chart.load(folder) as chart:
        try:
            chart.validate_schema(values)
            said["templates"] = chart.render(values, name="sagahold", namespace="sagahold")
        except helm.HelmError as error:
            said["error"] = str(error)
    for name, text in said["templates"].items():
        for manifest in yaml.safe_load_all(text) if name.endswith(".yaml") else ():
            if manifest and not manifest["apiVersion"].startswith(OTHERS):
                for version in VERSIONS:
                    kubernetes_validate.validate(manifest, version, strict=True)
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1])
