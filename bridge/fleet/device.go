// Package fleet simulates devices, and apps that listen to them, from outside: it writes the bytes that devices write, over
// HTTP and MQTT, measures the answers, and keeps a record of what was acknowledged.
//
// Which function do I want? Load sends as fast as it is answered or at a given rate, for measuring. Numbered sends every
// message until it is acknowledged, for proving that what was acknowledged is stored. Subscriber counts what an app gets,
// Sequence holds it against the order that Stamps gave to what a Load sent, and Idle holds connections that do nothing. API
// registers devices and apps.
//
// It knows only the wire. It shares no code with the parts that answer it, so that a mistake there is not repeated here.
package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Device is what a device knows of itself: its id, TYPE:value, and its shared secret.
type Device struct {
	ID     string
	Secret string
}

// Devices returns n devices whose ids and secrets are always the same for a seed, the first having number first. Ids are IMEIs
// with a valid check digit; a million of them share one type allocation code.
func Devices(seed string, first, n int) []Device {
	devices := make([]Device, n)
	for i := range devices {
		id := "IMEI:" + imei(first+i)
		sum := sha256.Sum256([]byte(seed + "/" + id))
		devices[i] = Device{ID: id, Secret: hex.EncodeToString(sum[:20])}
	}
	return devices
}

// imei returns the IMEI of a number: type allocation code, serial, check digit (3GPP TS 23.003 §6.2.1).
func imei(number int) string {
	s := fmt.Sprintf("%08d%06d", (35672610+number/1_000_000)%100_000_000, number%1_000_000)
	return s + string('0'+luhn(s))
}

// luhn returns the check digit of 14 digits (3GPP TS 23.003 annex B).
func luhn(digits string) byte {
	sum := 0
	for i := range len(digits) {
		d := int(digits[i] - '0')
		if i%2 == 1 {
			d *= 2
			d = d/10 + d%10
		}
		sum += d
	}
	return byte((10 - sum%10) % 10)
}

// Type is the part of the id before the colon, IMEI or DVNUUID.
func (d Device) Type() string {
	kind, _, _ := strings.Cut(d.ID, ":")
	return kind
}

// Value is the part of the id after the colon.
func (d Device) Value() string {
	_, value, _ := strings.Cut(d.ID, ":")
	return value
}

// BaseName is the device's SenML base name, which is its MQTT user name too.
func (d Device) BaseName() string { return "urn:dev:" + d.ID + ":" }

// Path is the path the device posts to.
func (d Device) Path() string {
	if d.Type() == "IMEI" {
		return "/ingestion/m2m/senml/v1"
	}
	return "/ingestion/ip/senml/v1"
}

// Topic is the topic the device publishes to.
func (d Device) Topic() string { return "things/" + d.Type() + "/" + d.Value() + "/uplink" }

// Token is the message token of a body.
func (d Device) Token(body []byte) string {
	token := make([]byte, 0, hex.EncodedLen(sha256.Size))
	token, _ = d.appendToken(token, body, nil)
	return string(token)
}

// appendToken appends the token of body to dst. The scratch is where body and secret meet, and is returned for the next call.
func (d Device) appendToken(dst, body, scratch []byte) (token, used []byte) {
	scratch = append(append(scratch[:0], body...), d.Secret...)
	sum := sha256.Sum256(scratch)
	return hex.AppendEncode(dst, sum[:]), scratch
}
