package pdu

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

// samples are one PDU of each kind.
func samples() []PDU {
	return []PDU{
		{BindTransceiver, 0, 1, &Bind{SystemID: "smppclient1", Password: "password", SystemType: "VMA", InterfaceVersion: Version34}},
		{BindReceiver, 0, 2, &Bind{SystemID: "a", Range: Address{1, 1, "^3197"}}},
		{BindTransceiver.Response(), 0, 1, &BindResp{SystemID: "SMSC", TLVs: TLVs{Octet(TagSCInterfaceVersion, Version34)}}},
		{BindTransceiver.Response(), StatusInvPaswd, 1, &BindResp{}},
		{Unbind, 0, 3, nil},
		{Unbind.Response(), 0, 3, nil},
		{EnquireLink, 0, 4, nil},
		{EnquireLink.Response(), 0, 4, nil},
		{GenericNack, StatusInvCmdID, 5, nil},
		{Outbind, 0, 6, &OutbindBody{"SMSC", "secret"}},
		{AlertNotification, 0, 7, &Alert{Source: Address{1, 1, "31612345678"}, ESME: Address{3, 0, "5277"}, TLVs: TLVs{Octet(0x0422, 0)}}},
		{SubmitSM, 0, 8, &Message{
			Source: Address{3, 0, "5277"}, Destination: Address{1, 1, "31612345678"}, ESMClass: 0x40, ValidityPeriod: "000000000500000R",
			RegisteredDelivery: 1, DataCoding: 4, ShortMessage: []byte{5, 0, 3, 7, 2, 1, 'h', 'i'}, TLVs: TLVs{Uint16(TagUserMessageReference, 513)},
		}},
		{SubmitSM, 0, 9, &Message{TLVs: TLVs{{TagMessagePayload, bytes.Repeat([]byte("x"), 3000)}}, ShortMessage: []byte{}}},
		{SubmitSM.Response(), 0, 8, &MessageResp{MessageID: "1A2B"}},
		{DeliverSM, 0, 10, &Message{ESMClass: 4, ShortMessage: []byte("id:1 stat:DELIVRD"), TLVs: TLVs{
			CString(TagReceiptedMessageID, "1A2B"), Octet(TagMessageState, 2), {TagNetworkErrorCode, []byte{3, 0, 27}}}}},
		{DeliverSM.Response(), StatusTAppn, 10, &MessageResp{}},
		{DataSM, 0, 11, &Data{Source: Address{1, 1, "1"}, ESMClass: 4, TLVs: TLVs{{TagMessagePayload, []byte("id:1")}}}},
		{DataSM.Response(), 0, 11, &MessageResp{MessageID: "7"}},
	}
}

func wire(t testing.TB, p PDU) []byte {
	t.Helper()
	b, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	for _, p := range samples() {
		f, err := Read(bytes.NewReader(wire(t, p)), DefaultLimit)
		if err != nil {
			t.Errorf("%s: %v", p.Command, err)
			continue
		}
		if got, err := f.Decode(); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%s: %+v, %v\nwant %+v", p.Command, got, err, p)
		}
	}
}

// The example of SMPP 3.4 §3.2, with which the octets do not rest on this package alone.
func TestSpecificationExample(t *testing.T) {
	want := "0000002f" + "00000002" + "00000000" + "00000001" +
		"534d50503354455354" + "00" + "7365637265743038" + "00" + "5355424d495431" + "00" + "00" + "01" + "01" + "00"
	p := PDU{BindTransmitter, 0, 1, &Bind{SystemID: "SMPP3TEST", Password: "secret08", SystemType: "SUBMIT1", Range: Address{TON: 1, NPI: 1}}}
	if got := hex.EncodeToString(wire(t, p)); got != want {
		t.Errorf("%s\n%s", got, want)
	}
}

func TestReadBounds(t *testing.T) {
	head := func(length string) string { return length + "00000015" + "00000000" + "00000001" }
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"Empty":       {"", io.EOF},
		"HalfAHeader": {"00000010000000", io.ErrUnexpectedEOF},
		"HalfABody":   {head("00000014") + "00", io.ErrUnexpectedEOF},
		"NoBody":      {head("00000014"), io.ErrUnexpectedEOF},
		"Zero":        {head("00000000"), ErrLength},
		"Fifteen":     {head("0000000f"), ErrLength},
		"AboveLimit":  {head("00010001"), ErrLength},
		"Absurd":      {head("ffffffff"), ErrLength},
		"OK":          {head("00000010"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := hex.DecodeString(c.in)
			if _, err := Read(bytes.NewReader(b), DefaultLimit); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestReadRefusesBeforeAllocating(t *testing.T) {
	b, _ := hex.DecodeString("7fffffff" + "00000005" + "00000000" + "00000001")
	r := bytes.NewReader(b)
	if n := testing.AllocsPerRun(10, func() { r.Reset(b); _, _ = Read(r, DefaultLimit) }); n > 8 {
		t.Errorf("%v allocations", n)
	}
}

func TestTolerantResponses(t *testing.T) {
	for name, c := range map[string]struct {
		command Command
		body    string
		want    Body
	}{
		"NoBody":       {SubmitSM.Response(), "", &MessageResp{}},
		"NoNUL":        {SubmitSM.Response(), "31413242", &MessageResp{MessageID: "1A2B"}},
		"LongID":       {SubmitSM.Response(), strings.Repeat("61", 100) + "00", &MessageResp{MessageID: strings.Repeat("a", 100)}},
		"HalfATLV":     {SubmitSM.Response(), "3100" + "00", &MessageResp{MessageID: "1"}},
		"CutTLV":       {SubmitSM.Response(), "3100" + "001e0009" + "31", &MessageResp{MessageID: "1"}},
		"BindNoBody":   {BindTransceiver.Response(), "", &BindResp{}},
		"NackWithBody": {GenericNack, "00", nil},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := hex.DecodeString(c.body)
			p, err := Frame{Command: c.command, Body: b}.Decode()
			if err != nil || !reflect.DeepEqual(p.Body, c.want) {
				t.Errorf("%+v, %v", p.Body, err)
			}
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	good := wire(t, PDU{DeliverSM, 0, 1, &Message{ShortMessage: []byte("hello"), TLVs: TLVs{Octet(TagMessageState, 2)}}})[16:]
	for name, c := range map[string]struct {
		body []byte
		want Status
	}{
		"Empty":       {nil, StatusInvCmdLen},
		"NoNUL":       {[]byte("aaaa"), StatusInvCmdLen},
		"LongString":  {append(bytes.Repeat([]byte("a"), 255), 0), StatusInvCmdLen},
		"ShortText":   {good[:len(good)-7], StatusInvMsgLen},
		"CutTLV":      {good[:len(good)-1], StatusInvOptParams},
		"TrailingOne": {append(bytes.Clone(good), 0), StatusInvOptParams},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Frame{Command: DeliverSM, Sequence: 9, Body: c.body}.Decode()
			var d *DecodeError
			if !errors.As(err, &d) || d.Status != c.want || p.Sequence != 9 {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := (Frame{Command: 0x7777}).Decode(); !errors.Is(err, ErrUnknownCommand) {
		t.Errorf("%v", err)
	}
}

func TestEncodeErrors(t *testing.T) {
	for name, b := range map[string]Body{
		"LongAddress": &Message{Source: Address{Value: strings.Repeat("1", 21)}},
		"NUL":         &Message{Destination: Address{Value: "31\x006"}},
		"LongText":    &Message{ShortMessage: make([]byte, 255)},
		"LongTLV":     &Message{TLVs: TLVs{{TagMessagePayload, make([]byte, 1<<16)}}},
		"LongID":      &MessageResp{MessageID: strings.Repeat("1", 65)},
		"LongName":    &Bind{SystemID: strings.Repeat("1", 65)},
	} {
		t.Run(name, func(t *testing.T) {
			if out, err := (PDU{Command: SubmitSM, Body: b}).Append([]byte("x")); err == nil || string(out) != "x" {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for _, s := range Statuses() {
		if got, ok := ParseStatus(s.String()); !ok || got != s {
			t.Errorf("%v: %v", s, got)
		}
	}
	if s, ok := ParseStatus("rthrottled"); !ok || s != StatusThrottled {
		t.Errorf("%v", s)
	}
	if _, ok := ParseStatus("ESME_NONSENSE"); ok || Status(0x400).String() != "0x00000400" {
		t.Error("unknown status")
	}
	for c, want := range map[Command]string{SubmitSM: "submit_sm", DataSM.Response(): "data_sm_resp", GenericNack: "generic_nack", 0x7777: "0x00007777"} {
		if c.String() != want {
			t.Errorf("%s, want %s", c, want)
		}
	}
}

// FuzzDecode reads arbitrary octets. What can be read can be written, unless it is longer than may be written, and is then
// read as the same.
func FuzzDecode(f *testing.F) {
	for _, p := range samples() {
		f.Add(wire(f, p))
	}
	f.Add([]byte{0, 0, 0, 16, 0x80, 0, 0, 4, 0, 0, 0, 0x58, 0, 0, 0, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := Read(bytes.NewReader(b), DefaultLimit)
		if err != nil {
			return
		}
		p, err := frame.Decode()
		var d *DecodeError
		if err != nil {
			if !errors.Is(err, ErrUnknownCommand) && !errors.As(err, &d) {
				t.Fatalf("%v", err)
			}
			return
		}
		out, err := p.Append(nil)
		if err != nil {
			return
		}
		again, err := Read(bytes.NewReader(out), DefaultLimit+1<<10)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := again.Decode(); err != nil || !reflect.DeepEqual(p, q) {
			t.Fatalf("%+v, %v\nfirst %+v", q, err, p)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	p := samples()[11]
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Append(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	raw := wire(b, samples()[11])
	r := bytes.NewReader(raw)
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(raw)
		f, err := Read(r, DefaultLimit)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Decode(); err != nil {
			b.Fatal(err)
		}
	}
}
