package explain

import (
	"regexp"

	"m2mbridge/auth"
	"m2mbridge/senml"
)

// Device is the device a body claims to be of. A pack that is spoilt may still
// show its base name.
func Device(body []byte) (auth.DeviceID, bool) {
	var pack senml.Pack
	if pack.Decode(body, senml.Options{}) == nil && pack.Records[0].HasBaseName {
		if id, _, err := auth.ParseBaseName(pack.Records[0].BaseName); err == nil {
			return id, true
		}
	}
	found := regexp.MustCompile(`(?i)urn:dev:(IMEI:\d{15}|DVNUUID:[-0-9a-f]{36})`).FindSubmatch(body)
	if found == nil {
		return "", false
	}
	id, err := auth.ParseDeviceID(string(found[1]))
	return id, err == nil
}

// Pack tells what the SenML reader holds against a body.
func Pack(body []byte) []Finding {
	var pack senml.Pack
	if err := pack.Decode(body, senml.Options{}); err != nil {
		return []Finding{{"pack", "the body is no SenML pack: " + err.Error(), "send one JSON array of SenML records (RFC 8428)"}}
	}
	return nil
}
