// Package latest keeps of every device the latest value of each name, and tells
// them: a projection of the streams of uplinks. Projector makes it, a node at a
// time for each partition; Reader reads it, from any node.
//
// A value is the latest by the time that its pack gives it, at most the time of
// receipt: a clock that ran ahead once must not freeze a value. It knows neither
// apps nor their filters, and judges no pack: what is in the streams was.
package latest

import (
	"encoding/json"
	"time"
)

// The bounds of what is kept of a device.
const (
	MaxNames = 256 // of more the oldest go
	MaxText  = 256 // bytes of a text or of base64; what is longer is cut
	maxName  = 256 // bytes; a value of a longer name is not kept
	maxUnit  = 64  // bytes; a longer one is cut
)

// Kinds of value.
const (
	KindNumber  = "number"
	KindBoolean = "boolean"
	KindString  = "string"
	KindData    = "data" // base64 in the URL alphabet
)

// Value is the latest one of a name.
type Value struct {
	Name  string          `json:"name"` // without the device's base name, where it begins with that
	Unit  string          `json:"unit,omitempty"`
	Kind  string          `json:"kind,omitempty"`  // "": there is a sum only
	Value json.RawMessage `json:"value,omitempty"` // a number as the device wrote it, true or false, or a string
	Sum   json.RawMessage `json:"sum,omitempty"`
	Cut   bool            `json:"cut,omitempty"` // the text went on
	Time  time.Time       `json:"time"`
	ID    string          `json:"id"` // stream id of its uplink
}
