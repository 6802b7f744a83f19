# SPDX-License-Identifier: Apache-2.0
"""The workload service: keys for trusted hosts, flavors of images, and reports of instances."""

import re
import urllib.parse

from . import flavor, go_client, hvs, kbs, saml, wire
from .routes import Route
from .wire import Answer, Refusal, b64

CACHE_SECONDS = 300
PARTS = ("IMAGE", "CONTAINER_IMAGE")
ENVELOPE = {"data": bytes, "hash_alg": str, "cert": str, "signature": str}
REPORT = {"instance_manifest": {"instance_info": {"instance_id": str, "host_hardware_uuid": str, "image_id": str},
                                "image_encrypted": bool, "image_integrity_enforced": bool},
          "policy_name": str, "results": [object], "trusted": bool}
FILTERS = ("instance_id", "report_id", "hardware_uuid", "from_date", "to_date", "latest_per_vm", "num_of_days",
           "filter")


def routes(release):
    base = {3: "/wls", 4: "/wls/v1"}.get(release, "/wls/v[12]")
    by_type = {"content-type": wire.JSON} if release < 5 else None
    found = [Route("wls.keys", "POST", base + "/keys", keys, ("WLS", "keys:create:*"), by_type),
             Route("wls.version", "GET", "/wls/noauth/version" if release == 3 else base + "/version", version)]
    return found if release >= 5 else found + image_routes(base, by_type)


def image_routes(base, by_type):
    image = base + "/images/(?P<image>[^/]+)"
    flavor_of_image = image + "/flavors/(?P<flavor>[^/]+)"
    retrieve = ("WLS", "image_flavors:retrieve:*")
    return [
        Route("wls.flavor_key", "GET", image + "/flavor-key", flavor_key, retrieve),
        Route("wls.image_flavor", "GET", image + "/flavors", image_flavor, retrieve),
        Route("wls.create_report", "POST", base + "/reports", create_report, ("WLS", "reports:create:*"), by_type),
        Route("wls.search_reports", "GET", base + "/reports", search_reports, ("WLS", "reports:search:*")),
        Route("wls.create_flavor", "POST", base + "/flavors", create_flavor, ("WLS", "flavors:create:*"), by_type),
        Route("wls.retrieve_flavor", "GET", base + "/flavors/(?P<flavor>[^/]+)", retrieve_flavor,
              ("WLS", "flavors:retrieve:*")),
        Route("wls.create_image", "POST", base + "/images", create_image, ("WLS", "images:create:*"), by_type),
        Route("wls.search_images", "GET", base + "/images", search_images, ("WLS", "images:search:*")),
        Route("wls.link_flavor", "PUT", flavor_of_image, link_flavor, ("WLS", "image_flavors:store:*")),
        Route("wls.unlink_flavor", "DELETE", flavor_of_image, unlink_flavor, ("WLS", "image_flavors:delete:*"))]


def version(_state, _request):
    return Answer(200, b"Workload Service\n", "text/plain")


def query(request):
    return dict(urllib.parse.parse_qsl(request.query_text, keep_blank_values=True))


def key_text(wrapped):
    return None if wrapped is None else b64(wrapped)


def keys(state, request):
    if state.release >= 5:
        wire.require(request, (415, "Invalid Accept type"), accept=wire.JSON)
        wire.require(request, (415, "Invalid Content-Type"), content_type=wire.JSON)
    asked = wire.decode(request.body, {"hardware_uuid": str, "key_url": str},
                        (400, "Failed to retrieve key - JSON marshal error"))
    if not wire.is_hardware_uuid(asked.get("hardware_uuid", "")):
        raise Refusal(400, "Invalid hardware UUID format")
    if not asked.get("key_url"):
        if state.release >= 5:
            raise Refusal(400, "keyUrl is empty")
        return Answer(200)
    wrapped = released(state, request, asked["hardware_uuid"], asked["key_url"], "Failed to retrieve Key for Image")
    answer = wire.json_answer(201 if state.release >= 5 else 200, {"key": key_text(wrapped)})
    if state.release == 3:
        answer.headers["Content-Type"] = "application/x-pem-file"  # JSON all the same
    return answer


def released(state, request, hardware_uuid, key_url, failed):
    """The wrapped key, or None where release 4 found no verdict on the host."""
    if not go_client.parses(key_url):
        raise Refusal(500 if state.release >= 5 else 400, f"{failed} - KeyUrl is malformed")
    try:
        report = report_on(state, hardware_uuid)
        attributes = saml.attributes_of(report, state.saml_certificates)
    except go_client.Failed as error:
        raise refusal_with(state, f"{failed} - Failed to read HVS response", error) from None
    except ValueError as error:
        text = f"{failed} - SAML signature or certificate chain verification failed"
        raise Refusal(500, text, reason=str(error)) from None
    verdict = attributes.get("TRUST_OVERALL")
    if verdict == "false":
        raise Refusal(500, f"{failed} - Host is untrusted")
    if verdict is None and state.release == 4:
        return None
    return from_cache_or_broker(state, request, hardware_uuid.lower(), key_url, report)


def refusal_with(state, text, error):
    """Release 5 tells the cause as well."""
    return Refusal(500, f"{text}: {error}" if state.release >= 5 else text, reason=str(error.__cause__ or error))


def report_on(state, hardware_uuid):
    url = state.url + "/hvs/v2/reports"
    within = f"{go_client.SENDER}:SendRequest() Error getting response"
    if "hvs" in state.down:
        raise go_client.wrapped(go_client.unreachable(url), within)
    try:
        return hvs.report(state, hardware_uuid)
    except hvs.NoReport as error:
        raise go_client.wrapped(go_client.answered(400), within) from error


def from_cache_or_broker(state, request, host, key_url, report):
    """One key for each host is kept, whatever the broker would say meanwhile."""
    found = re.search(wire.UUID4, urllib.parse.urlsplit(key_url).path, re.IGNORECASE)
    key_id = found.group().lower() if found else ""
    kept_id, wrapped, until = state.key_cache.get(host, (None, None, 0))
    faulty = request.fault and request.fault.changes_key()
    if key_id and kept_id == key_id and until > state.now() and not faulty:
        return wrapped
    try:
        wrapped = from_broker(state, request, key_url, key_id, report)
    except go_client.Failed as error:
        raise refusal_with(state, "Failed to retrieve key ", error) from None
    if not faulty:
        state.key_cache[host] = key_id, wrapped, state.now() + CACHE_SECONDS
    return wrapped


def from_broker(state, request, key_url, key_id, report):
    """key_url up to the id says which broker; that of this double is the only one there is, and it reads a
    path with "//" as another path."""
    within = ("Error response from key transfer request: "
              f"{go_client.SENDER}:SendNoAuthRequest() Error getting response")
    base = re.split(wire.UUID4, key_url, maxsplit=1, flags=re.IGNORECASE)[0].removesuffix("keys/")
    state.calls["wls.asked_kbs"] += 1
    if "kbs" in state.down or not base.startswith(state.url + "/"):
        raise go_client.wrapped(go_client.unreachable(f"{base}keys/{key_id}/transfer"), within)
    try:
        if not re.fullmatch(kbs.base(state.release) + "/", base.removeprefix(state.url)) or not key_id:
            raise Refusal(404, "404 page not found", reason=f"the broker has no {base}")
        return kbs.release_key(state, key_id, report, request.fault)
    except Refusal as refusal:
        raise go_client.wrapped(go_client.answered(refusal.status), within) from refusal


def image_id(request, failed):
    if not wire.is_uuid4(request.words["image"]):
        raise Refusal(400, f"{failed} - Invalid UUID")
    return request.words["image"].lower()


def flavor_of(state, image):
    """The first image flavor, or None."""
    for id_ in state.images.get(image, ()):
        found = state.flavors.get(id_)
        if found and found["flavor"]["meta"]["description"]["flavor_part"] in PARTS:
            return found
    return None


def flavor_key(state, request):
    image = image_id(request, "Failed to retrieve Flavor/Key")
    if "hardware_uuid" not in query(request):
        raise Refusal(400, "Missing query parameters: [hardware_uuid]")
    hardware_uuid = query(request)["hardware_uuid"]
    if not wire.is_hardware_uuid(hardware_uuid):
        raise Refusal(400, "Failed to retrieve Flavor/Key - Invalid hardware uuid")
    found = flavor_of(state, image)
    if not found:
        raise Refusal(404, "Failed to retrieve Flavor and Key for Image - Backend Error")
    if not found["flavor"].get("encryption"):
        if state.release >= 4:
            raise Refusal(500, reason="release 4 panics where a flavor says nothing of encryption")
        return wire.json_answer(200, {**found, "key": None})
    wrapped = released(state, request, hardware_uuid, found["flavor"]["encryption"]["key_url"],
                       "Failed to retrieve Flavor/Key for Image")
    return wire.json_answer(200, {**found, "key": key_text(wrapped)})


def image_flavor(state, request):
    failed = "Failed to retrieve flavor"
    image = image_id(request, failed)
    part = query(request).get("flavor_part")
    if part is None:
        raise Refusal(400, "Missing query parameters: [flavor_part]")
    if part not in PARTS:
        raise Refusal(400, f"{failed} - Invalid flavor part")
    found = flavor_of(state, image)
    if not found or found["flavor"]["meta"]["description"]["flavor_part"] != part:
        raise Refusal(404, f"{failed} - No flavor found for given image ID")
    return wire.json_answer(200, found)


def create_report(state, request):
    failed = (400, "Failed to create report - JSON marshal error")
    envelope = wire.decode(request.body, ENVELOPE, failed)
    said = wire.decode(envelope.get("data", b""), REPORT, failed)
    whole = {"instance_manifest": said.get("instance_manifest", {}), "policy_name": said.get("policy_name", ""),
             "results": said.get("results", []), "trusted": said.get("trusted", False),
             **{name: b64(value) if isinstance(value, bytes) else value for name, value in envelope.items()}}
    state.reports.append(whole)
    return wire.json_answer(201, whole)


def search_reports(state, request):
    """Of the filters, those by name of instance or host choose; the others are read and choose nothing."""
    asked = query(request)
    unknown = [name for name in asked if name not in FILTERS]
    if unknown:
        raise Refusal(400, f"Invalid query parameter {unknown[0]}")

    def wanted(report):
        about = report["instance_manifest"].get("instance_info", {})
        return (asked.get("instance_id") in (None, about.get("instance_id")) and
                asked.get("hardware_uuid") in (None, about.get("host_hardware_uuid")))

    return wire.json_answer(200, [report for report in state.reports if wanted(report)])


def create_flavor(state, request):
    refusal = 400, "Failed to create flavor - JSON marshal error"
    signed = wire.decode(request.body, flavor.SIGNED_FIELDS, refusal)
    meta = signed.get("flavor", {}).get("meta", {})
    description = meta.get("description") or {}
    if not signed.get("signature") or description.get("flavor_part") not in PARTS:
        raise Refusal(400, "Failed to create flavor - Invalid flavor part or signature")
    if not wire.is_uuid4(meta.get("id", "")):
        raise Refusal(*refusal, reason="the id is no UUID")
    same = [other for other in state.flavors.values() if other["flavor"]["meta"]["id"] == meta["id"] or
            other["flavor"]["meta"]["description"].get("label") == description.get("label")]
    if same:
        raise Refusal(409, "Failed to create flavor - Flavor with same id/label already exists")
    kept = {"flavor": flavor.in_order(signed["flavor"]), "signature": signed["signature"]}
    state.flavors[meta["id"]] = kept
    return wire.json_answer(201, {"flavor": kept["flavor"]})


def retrieve_flavor(state, request):
    wanted = request.words["flavor"]
    for id_, found in state.flavors.items():
        if wanted in (id_, found["flavor"]["meta"]["description"].get("label")):
            return wire.json_answer(200, found)
    raise Refusal(404, "Failed to retrieve flavor - No flavor found for given ID or label")


def create_image(state, request):
    refusal = 400, "Failed to create image - JSON marshal error"
    asked = wire.decode(request.body, {"id": str, "flavor_ids": [str]}, refusal)
    image, flavors = asked.get("id", ""), asked.get("flavor_ids", [])
    if not wire.is_uuid4(image) or not flavors or any(id_ not in state.flavors for id_ in flavors):
        raise Refusal(*refusal, reason="an id is no UUID, or there is no such flavor")
    if image in state.images:
        raise Refusal(409, "Failed to create image - Image already exists")
    state.images[image] = list(flavors)
    return wire.json_answer(201, {"id": image, "flavor_ids": flavors})


def search_images(state, _request):
    return wire.json_answer(200, [{"id": image, "flavor_ids": flavors} for image, flavors in state.images.items()])


def linked(state, request):
    flavors = state.images.get(image_id(request, "Failed to associate flavor"))
    if flavors is None or request.words["flavor"] not in state.flavors:
        raise Refusal(404, "Failed to associate flavor - Backend Error")
    return flavors, request.words["flavor"]


def link_flavor(state, request):
    flavors, wanted = linked(state, request)
    if wanted not in flavors:
        flavors.append(wanted)
    return Answer(201)


def unlink_flavor(state, request):
    flavors, wanted = linked(state, request)
    if wanted in flavors:
        flavors.remove(wanted)
    return Answer(204)
