// Check manifests of KEDA's and the Prometheus operator's kinds, a JSON list on standard input, against their schemas.
import { readFileSync } from "node:fs";

const MODULES = {
  ScaledObject: "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject",
  ServiceMonitor: "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor",
};

for (const manifest of JSON.parse(readFileSync(0, "utf8"))) {
  const models = await import(MODULES[manifest.kind]);
  new models[manifest.kind](manifest).validate();
}
