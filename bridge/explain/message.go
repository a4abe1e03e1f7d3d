package explain

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"regexp"
	"slices"
	"strings"

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
	base := regexp.MustCompile(`(?i)urn:dev:(IMEI:\d{15}|DVNUUID:[-0-9a-f]{36})`)
	for _, reading := range readings(body) {
		if found := base.FindSubmatch(reading); found != nil {
			id, err := auth.ParseDeviceID(string(found[1]))
			return id, err == nil
		}
	}
	return "", false
}

// readings are a body, and what it may have been before it was wrapped.
func readings(body []byte) [][]byte {
	all := [][]byte{body, decompressed(body), fromUTF16(body)}
	text := string(bytes.TrimSpace(body))
	if inner, err := base64.StdEncoding.DecodeString(text); err == nil {
		all = append(all, inner)
	}
	if inner, err := hex.DecodeString(text); err == nil {
		all = append(all, inner)
	}
	if inner, err := url.QueryUnescape(text); err == nil {
		all = append(all, []byte(inner))
	}
	return all
}

// revealed tells of a secret that was sent where only its hash belongs, and
// takes it out of the body, to explain the rest. It says of none which it is.
func revealed(in *Input) []Finding {
	const fix = "send no secret, and give the device a new one: whoever was on the way has this one"
	for _, s := range slices.Concat(in.Secrets, in.Retired, in.Others) {
		if bytes.Contains(in.Body, []byte(s)) {
			in.Body = bytes.ReplaceAll(in.Body, []byte(s), nil)
			return []Finding{{"secret-in-body", "the body holds the secret", fix}}
		}
		if strings.Contains(in.Token, s) {
			return []Finding{{"secret-as-token", "the secret was sent as the token", fix}}
		}
	}
	return nil
}

// Pack tells what the SenML reader holds against a body.
func Pack(body []byte) []Finding {
	var pack senml.Pack
	if err := pack.Decode(body, senml.Options{}); err != nil {
		return []Finding{{"pack", "the body is no SenML pack: " + err.Error(), "send one JSON array of SenML records (RFC 8428)"}}
	}
	return nil
}
