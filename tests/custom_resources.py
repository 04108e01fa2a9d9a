"""What the components use of custom resources, closed: a field or a form that is not here has to be looked up first.

Written after the references of Gateway API 1.4 (https://gateway-api.sigs.k8s.io/reference/spec/) and of the Prometheus
operator 0.80 (https://prometheus-operator.dev/docs/api-reference/api/). Packages that hold the schemas are old or do
not load everywhere, and the schemas themselves have ten thousand lines.
"""

from typing import Any

Schema = dict[str, Any]


def _object(*required: str, **properties: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def _list(items: Schema, longest: int) -> Schema:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": longest}


_LABEL = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}
_HOST = {"type": "string", "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_DURATION = {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}
_LABELS = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}
_METADATA = _object("name", "namespace", "labels", name=_LABEL, namespace=_LABEL, labels=_LABELS)

HTTP_ROUTE = _object(
    *("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "gateway.networking.k8s.io/v1"},
    kind={"const": "HTTPRoute"},
    metadata=_METADATA,
    spec=_object(
        *("parentRefs", "rules"),
        parentRefs=_list(_object("name", name=_LABEL, namespace=_LABEL, sectionName=_LABEL), 32),
        hostnames=_list(_HOST, 16),
        rules=_list(
            _object(
                "backendRefs",
                backendRefs=_list(_object("name", "port", name=_LABEL, port=_PORT), 16),
                timeouts=_object(request=_DURATION, backendRequest=_DURATION),
            ),
            16,
        ),
    ),
)
SERVICE_MONITOR = _object(
    *("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "monitoring.coreos.com/v1"},
    kind={"const": "ServiceMonitor"},
    metadata=_METADATA,
    spec=_object(
        *("selector", "endpoints"),
        selector=_object("matchLabels", matchLabels=_LABELS),
        endpoints=_list(_object("port", port={"type": "string"}, path={"type": "string"}, interval=_DURATION), 100),
    ),
)
SCHEMAS = {"HTTPRoute": HTTP_ROUTE, "ServiceMonitor": SERVICE_MONITOR}
