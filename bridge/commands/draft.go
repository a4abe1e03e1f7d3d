package commands

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"time"

	"m2mbridge/auth"
	"m2mbridge/bridge/downlink"
)

// draftOf reads a command: the fields of an entry, or the properties of a message. Durations are Go's or milliseconds,
// instants RFC 3339 or Unix milliseconds. A field that is unknown is an error: whoever misspells one must hear of it.
func draftOf(fields map[string]any) (d downlink.Draft, err error) {
	d.Priority, d.Channel = downlink.DefaultPriority, downlink.Any
	for name, value := range fields {
		text, _ := value.(string)
		if err := Set(&d, name, text); err != nil {
			return d, err
		}
	}
	return d, nil
}

// Set takes one field of a command.
func Set(d *downlink.Draft, name, text string) (err error) {
	switch name {
	case "device":
		d.Device, err = auth.ParseDeviceID(text)
	case "channel":
		d.Channel = downlink.Channel(text)
	case "pack":
		d.Pack = []byte(text)
	case "text":
		d.Text = text
	case "data":
		d.Data, err = base64.StdEncoding.DecodeString(text)
	case "ttl":
		d.TTL, err = duration(text)
	case "not_before", "notBefore":
		d.NotBefore, err = instant(text)
	case "key", "idempotencyKey":
		d.Key = text
	case "priority":
		d.Priority, err = strconv.Atoi(text)
	case "ack":
		d.Ack, err = strconv.ParseBool(text)
	case "wake":
		d.Wake, err = strconv.ParseBool(text)
	default:
		return fmt.Errorf("%w: unknown field %.64q: there are device channel pack text data ttl not_before (notBefore) key (idempotencyKey) priority ack wake", downlink.ErrInvalid, name)
	}
	if err != nil {
		return fmt.Errorf("%w: %s %.64q: want %s", downlink.ErrInvalid, name, text, formOf(name))
	}
	return nil
}

// formOf is how a field is written.
func formOf(name string) string {
	switch name {
	case "device":
		return "IMEI:<15 digits> or DVNUUID:<uuid>"
	case "ttl":
		return "a duration such as 90s or 48h, or milliseconds"
	case "priority":
		return "0 to 9"
	case "ack", "wake":
		return "true or false"
	case "data":
		return "base64"
	}
	return "an instant such as 2026-11-26T20:36:00Z, or Unix milliseconds"
}

func duration(text string) (time.Duration, error) {
	if ms, err := strconv.ParseInt(text, 10, 48); err == nil {
		return time.Duration(ms) * time.Millisecond, nil
	}
	return time.ParseDuration(text)
}

func instant(text string) (time.Time, error) {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.UnixMilli(ms), nil
	}
	return time.Parse(time.RFC3339, text)
}
