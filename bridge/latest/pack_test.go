package latest

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"m2mbridge/bridge/stream"
	"m2mbridge/senml"
)

// What is read from a normalised pack is what senml itself makes of it.
func TestPackReadsAsResolved(t *testing.T) {
	receipt := time.Unix(1_750_000_000, 0)
	for _, pack := range []string{
		`[{"bn":"urn:dev:IMEI:356726104408422:","n":"a","v":1}]`,
		`[{"bn":"urn:dev:IMEI:356726104408422:","bt":-10,"bu":"V","n":"a","v":1,"t":-5},{"n":"b","v":2,"u":"A"},{"n":"c","vb":true,"t":1700000000.125}]`,
		`[{"bn":"urn:dev:IMEI:356726104408422:"},{"bt":1700000000},{"n":"a","v":1e3},{"bv":-1,"n":"b","v":0.1},{"n":"c","vs":"x"},{"bv":0,"n":"d","v":0}]`,
		`[{"bn":"urn:dev:IMEI:356726104408422:","bs":5,"n":"a","v":1},{"n":"b","s":1},{"bs":0,"n":"c","s":2.50},{"n":"d","vd":"AAAA","u":"x"},{"bu":"W","n":"e","v":1}]`,
		`[{"bn":"urn:dev:IMEI:356726104408422:up","n":"a","v":1},{"bn":"urn:dev:IMEI:356726104408422:","n":"a","v":2},{"v":3,"n":"up:a"}]`,
	} {
		var p senml.Pack
		if err := p.Decode([]byte(pack), senml.Options{}); err != nil {
			t.Fatal(err)
		}
		if err := p.Resolve(receipt); err != nil {
			t.Fatal(err)
		}
		text := string(p.AppendNormalised(nil))
		e := stream.Entry{ID: stream.ID{MS: 1}, Fields: stream.Fields{"at", fmt.Sprint(receipt.UnixMilli()), "pack", text}}
		d, _ := pending{}.device(testID, &e)
		var k packs
		k.take(d, &e)
		n := 0
		for m := range p.Resolved() {
			n++
			v := d.values[m.Name[len(testID.BaseName()):]]
			if v == nil {
				t.Errorf("%s: no %s", pack, m.Name)
				continue
			}
			got, _ := parse(m.Name, string(v.append(nil)))
			if err := differs(&got, &m); err != nil {
				t.Errorf("%s: %s: %v", pack, m.Name, err)
			}
		}
		if n != len(d.values) {
			t.Errorf("%s: %d values of %d", pack, len(d.values), n)
		}
	}
}

// differs tells how a value differs from what senml says of the record.
func differs(got *Value, want *senml.Resolved) error {
	value, sum := any(nil), any(nil)
	switch want.Kind {
	case senml.Number:
		value = want.Number
	case senml.Bool:
		value = want.Bool
	case senml.String, senml.Binary:
		value = want.Text
	}
	if want.HasSum {
		sum = want.Sum
	}
	switch {
	case !reflect.DeepEqual(decoded(got.Value), value) || !reflect.DeepEqual(decoded(got.Sum), sum):
		return fmt.Errorf("%s and sum %s, want %v and %v", got.Value, got.Sum, value, sum)
	case got.Unit != want.Unit || got.Time.UnixMicro() != int64(math.Round(want.Time*1e6)):
		return fmt.Errorf("unit %s at %v, want %s at %f", got.Unit, got.Time, want.Unit, want.Time)
	}
	return nil
}

func decoded(text json.RawMessage) (v any) {
	_ = json.Unmarshal(text, &v) // nothing is no value
	return v
}
