package api

import (
	"reflect"

	"m2mbridge/auth"
)

// fieldChange is what becomes of one attribute.
type fieldChange struct {
	Field string `json:"field"`
	From  any    `json:"from,omitempty"`
	To    any    `json:"to,omitempty"`
}

// differences are the attributes in which two devices differ; before is nil for a new one.
func (l attributeList) differences(before, after *auth.Device) []fieldChange {
	if before == nil {
		before = &auth.Device{}
	}
	var changes []fieldChange
	for _, a := range l {
		if from, to := a.get(before), a.get(after); !reflect.DeepEqual(from, to) {
			changes = append(changes, fieldChange{a.name, from, to})
		}
	}
	return changes
}
