package smpp

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"m2mbridge/sms/smpp/pdu"
	"m2mbridge/sms/smpp/smpptest"
)

func TestParseReceipt(t *testing.T) {
	day := time.Date(2026, 11, 27, 2, 14, 0, 0, time.UTC)
	second := day.Add(29 * time.Second)
	for name, c := range map[string]struct {
		text string
		want Receipt
	}{
		"AppendixB": {"id:0123456789 sub:001 dlvrd:001 submit date:2611270214 done date:2611270214 stat:DELIVRD err:000 text:Hello world",
			Receipt{ID: "0123456789", State: StateDelivered, Stat: "DELIVRD", Err: "000", Submitted: day, Done: day}},
		"Seconds": {"id:1 sub:1 dlvrd:1 submit date:261127021429 done date:20261127021429 stat:EXPIRED err:0",
			Receipt{ID: "1", State: StateExpired, Stat: "EXPIRED", Err: "0", Submitted: second, Done: second}},
		"UpperCase": {"ID:1A2B SUB:001 DLVRD:000 SUBMIT DATE:2611270214 DONE DATE:2611270214 STAT:UNDELIVERABLE ERR:21 TEXT:",
			Receipt{ID: "1A2B", State: StateUndeliverable, Stat: "UNDELIVERABLE", Err: "21", Submitted: day, Done: day}},
		"MixedCase": {"Id:1 Submit Date:2611270214 Stat:Delivered Text:stat:REJECTD",
			Receipt{ID: "1", State: StateDelivered, Stat: "Delivered", Submitted: day}},
		"Underscores":   {"id:1 submit_date:2611270214 done_date:2611270214 stat:DELETED", Receipt{ID: "1", State: StateDeleted, Stat: "DELETED", Submitted: day, Done: day}},
		"NoSeparation":  {"id:1 submitdate:2611270214 stat:ACCEPTED", Receipt{ID: "1", State: StateAccepted, Stat: "ACCEPTED", Submitted: day}},
		"Commas":        {"id:1, sub:001, dlvrd:001, stat:REJECTD, err:069", Receipt{ID: "1", State: StateRejected, Stat: "REJECTD", Err: "069"}},
		"Lines":         {"id:1\r\nstat:UNDELIV\r\nerr:5\r\n", Receipt{ID: "1", State: StateUndeliverable, Stat: "UNDELIV", Err: "5"}},
		"SpaceBehind":   {"id: 1 stat: DELIVRD err: 0", Receipt{ID: "1", State: StateDelivered, Stat: "DELIVRD", Err: "0"}},
		"SpaceBefore":   {"id :1 stat :DELIVRD", Receipt{ID: "1", State: StateDelivered, Stat: "DELIVRD"}},
		"OnlyStat":      {"stat:ACCEPTD", Receipt{State: StateAccepted, Stat: "ACCEPTD"}},
		"OtherOrder":    {"stat:UNKNOWN err:1 id:77", Receipt{ID: "77", State: StateUnknown, Stat: "UNKNOWN", Err: "1"}},
		"Enroute":       {"id:1 stat:ENROUTE", Receipt{ID: "1", State: StateEnroute, Stat: "ENROUTE"}},
		"UnknownWord":   {"id:1 stat:BUFFERED", Receipt{ID: "1", Stat: "BUFFERED"}},
		"FirstCounts":   {"id:1 id:2 stat:DELIVRD stat:REJECTD", Receipt{ID: "1", State: StateDelivered, Stat: "DELIVRD"}},
		"BadDates":      {"id:1 submit date:2613990214 done date:soon stat:DELIVRD", Receipt{ID: "1", State: StateDelivered, Stat: "DELIVRD"}},
		"EmptyValues":   {"id: sub: dlvrd: submit date: done date: stat: err: text:", Receipt{}},
		"KeyInAValue":   {"id:paid:1 stat:DELIVRD", Receipt{ID: "paid:1", State: StateDelivered, Stat: "DELIVRD"}},
		"UUID":          {"id:0F8FAD5B-D9CB-469F-A165-70867728950E stat:DELIVRD", Receipt{ID: "0F8FAD5B-D9CB-469F-A165-70867728950E", State: StateDelivered, Stat: "DELIVRD"}},
		"TextLooksLike": {"id:1 stat:UNDELIV text:id:2 stat:DELIVRD", Receipt{ID: "1", State: StateUndeliverable, Stat: "UNDELIV"}},
		"OnlyInText":    {"stat:UNDELIV text:id:2 err:7", Receipt{State: StateUndeliverable, Stat: "UNDELIV"}},
		"Empty":         {"", Receipt{}},
		"Nonsense":      {"Message delivered, thank you", Receipt{}},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.Text = c.text
			if got := parseReceipt(c.text); got != c.want {
				t.Errorf("%+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestIDForms(t *testing.T) {
	for id, want := range map[string][]string{
		"1A2B":             {"1a2b", "6699"},
		"0000006699":       {"6699", "1a2b", "26265"},
		"00001A2B":         {"1a2b", "6699"},
		"7":                {"7"},
		"000":              {"0"},
		"":                 nil,
		" 12 ":             {"12", "c", "18"},
		"FFFFFFFFFFFFFFFF": {"ffffffffffffffff", "18446744073709551615"},
		"0F8FAD5B-D9CB":    {"f8fad5b-d9cb"},
	} {
		if got := IDForms(id); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
	for _, pair := range [][2]string{{"1A2B", "0000006699"}, {"0000006699", "1a2b"}, {"00012", "12"}, {"6699", "00006699"}, {"msg-A", "MSG-a"}} {
		if !SameID(pair[0], pair[1]) || !SameID(pair[1], pair[0]) {
			t.Errorf("%q are not the same", pair)
		}
	}
	for _, pair := range [][2]string{{"1A2B", "6698"}, {"", ""}, {"", "0"}, {"a", "b"}} {
		if SameID(pair[0], pair[1]) {
			t.Errorf("%q are the same", pair)
		}
	}
}

const receiptText = "id:0000006699 sub:001 dlvrd:001 submit date:2611270214 done date:2611270214 stat:DELIVRD err:000 text:x"

// What comes to which callback, by deliver_sm and data_sm.
func TestReceived(t *testing.T) {
	phone, us := Address{TON: 1, NPI: 1, Value: "31612345678"}, Address{TON: 3, Value: "5277"}
	state := pdu.TLVs{pdu.CString(pdu.TagReceiptedMessageID, "1A2B"), pdu.Octet(pdu.TagMessageState, 5),
		{Tag: pdu.TagNetworkErrorCode, Value: []byte{3, 0, 27}}, pdu.Uint16(pdu.TagUserMessageReference, 513)}
	payload := pdu.TLVs{{Tag: pdu.TagMessagePayload, Value: []byte(receiptText)}}
	message := func(esm byte, text string, tlvs pdu.TLVs) *pdu.Message {
		return &pdu.Message{Source: phone, Destination: us, ESMClass: esm, ShortMessage: []byte(text), TLVs: tlvs}
	}
	is := func(id string, s MessageState) func(any) bool {
		return func(got any) bool {
			r, ok := got.(Receipt)
			return ok && r.ID == id && r.State == s && !r.Intermediate && r.Source == phone && r.Destination == us
		}
	}
	for name, c := range map[string]struct {
		command pdu.Command
		body    pdu.Body
		check   func(any) bool
	}{
		"Text":        {pdu.DeliverSM, message(4, receiptText, nil), is("0000006699", StateDelivered)},
		"TLVsWin":     {pdu.DeliverSM, message(4, receiptText, state), is("1A2B", StateUndeliverable)},
		"OnlyTLVs":    {pdu.DeliverSM, message(4, "", state), is("1A2B", StateUndeliverable)},
		"Payload":     {pdu.DeliverSM, message(4, "", payload), is("0000006699", StateDelivered)},
		"NoType":      {pdu.DeliverSM, message(0, "", state), is("1A2B", StateUndeliverable)},
		"WithModeBit": {pdu.DeliverSM, message(4|3, receiptText, nil), is("0000006699", StateDelivered)},
		"Unreadable":  {pdu.DeliverSM, message(4, "thank you", nil), is("", StateAbsent)},
		"DataSM":      {pdu.DataSM, &pdu.Data{Source: phone, Destination: us, ESMClass: 4, TLVs: state}, is("1A2B", StateUndeliverable)},
		"DataSMPayload": {pdu.DataSM, &pdu.Data{Source: phone, Destination: us, ESMClass: 4, TLVs: payload},
			is("0000006699", StateDelivered)},
		"UTF16": {pdu.DeliverSM, &pdu.Message{Source: phone, Destination: us, ESMClass: 4, DataCoding: 8,
			ShortMessage: []byte("\x00i\x00d\x00:\x007\x00 \x00s\x00t\x00a\x00t\x00:\x00D\x00E\x00L\x00I\x00V\x00R\x00D")}, is("7", StateDelivered)},
		"References": {pdu.DeliverSM, message(4, "", state), func(got any) bool {
			r := got.(Receipt)
			return r.NetworkError == NetworkError{3, 27} && r.UserMessageReference == 513
		}},
		"Intermediate": {pdu.DeliverSM, message(0x20, "id:1 stat:ENROUTE", nil), func(got any) bool {
			r, ok := got.(Receipt)
			return ok && r.Intermediate && r.State == StateEnroute && !r.State.Final()
		}},
		// A phone can write what looks like a receipt.
		"Forged": {pdu.DeliverSM, message(0, receiptText, nil), func(got any) bool {
			m, ok := got.(Inbound)
			return ok && m.Text == receiptText && m.Source == phone
		}},
		"UserAcknowledgement": {pdu.DeliverSM, message(0x10, "yes", nil), func(got any) bool {
			m, ok := got.(Inbound)
			return ok && m.ESMClass == 0x10
		}},
		"MessageGSM":    {pdu.DeliverSM, message(0, "\x1b(1\x1b)\x00", nil), func(got any) bool { return got.(Inbound).Text == "{1}@" }},
		"MessageBinary": {pdu.DeliverSM, &pdu.Message{DataCoding: 4, ShortMessage: []byte{1, 2}}, func(got any) bool { return got.(Inbound).Text == "" && len(got.(Inbound).Data) == 2 }},
		"MessagePart": {pdu.DeliverSM, message(0x40, "\x05\x00\x03\x07\x02\x01hi", nil), func(got any) bool {
			return got.(Inbound).Text == "hi" && got.(Inbound).Part == Part{7, 1, 2}
		}},
		"MessagePart16": {pdu.DeliverSM, message(0x40, "\x0c\x05\x04\x0b\x84\x00\x00\x08\x04\x01\x02\x03\x02hi", nil), func(got any) bool {
			return got.(Inbound).Text == "hi" && got.(Inbound).Part == Part{0x102, 2, 3}
		}},
		"MessageSAR":    {pdu.DeliverSM, message(0, "hi", sar(513, 3, 2)), func(got any) bool { return got.(Inbound).Part == Part{513, 2, 3} }},
		"HeaderTooLong": {pdu.DeliverSM, message(0x40, "\x7fhi", nil), func(got any) bool { return got.(Inbound).Header == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := smpptest.New(t, nil)
				got := make(chan any, 1)
				cfg := inMemory(s)
				cfg.Receipt = func(_ context.Context, r Receipt) error { got <- r; return nil }
				cfg.Message = func(_ context.Context, m Inbound) error { got <- m; return nil }
				run(t, cfg).bound(t)
				conn := s.Bound()
				n := conn.Request(c.command, c.body)
				if v := <-got; !c.check(v) {
					t.Errorf("%T %+v", v, v)
				}
				if p := <-conn.Answers; p.Command != c.command.Response() || p.Sequence != n || p.Status != pdu.StatusOK {
					t.Errorf("%+v", p)
				}
			})
		})
	}
}

// The SMSC sends a receipt again until it was taken.
func TestReceiptNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := smpptest.New(t, nil)
		calls := 0
		cfg := inMemory(s)
		cfg.Receipt = func(ctx context.Context, _ Receipt) error {
			switch calls++; calls {
			case 1:
				return errors.New("the store is down")
			case 2:
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		run(t, cfg).bound(t)
		conn := s.Bound()
		for _, want := range []Status{pdu.StatusTAppn, pdu.StatusTAppn, pdu.StatusOK, pdu.StatusOK} {
			conn.Request(pdu.DeliverSM, &pdu.Message{ESMClass: 4, ShortMessage: []byte(receiptText)})
			if p := <-conn.Answers; p.Status != want {
				t.Errorf("%s, want %s", p.Status, want)
			}
		}
	})
}

// While a callback takes its time the rest goes on, and what does not fit the queue is to come again.
func TestSlowCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := smpptest.New(t, nil)
		release := make(chan struct{})
		taken := 0
		cfg := inMemory(s)
		cfg.Receipt = func(context.Context, Receipt) error { <-release; taken++; return nil }
		client := run(t, cfg).bound(t)
		conn := s.Bound()
		for range queueLimit + 5 {
			conn.Request(pdu.DeliverSM, &pdu.Message{ESMClass: 4, ShortMessage: []byte(receiptText)})
		}
		for range 5 {
			if p := <-conn.Answers; p.Status != pdu.StatusMsgQFul {
				t.Errorf("%+v", p)
			}
		}
		n := conn.Request(pdu.EnquireLink, nil)
		if p := <-conn.Answers; p.Command != pdu.EnquireLink.Response() || p.Sequence != n {
			t.Errorf("%+v", p)
		}
		if _, err := client.Submit(t.Context(), wake()); err != nil {
			t.Error(err)
		}
		close(release)
		for range queueLimit {
			if p := <-conn.Answers; p.Status != pdu.StatusOK {
				t.Errorf("%+v", p)
			}
		}
		client.stop()
		if taken != queueLimit {
			t.Errorf("%d taken", taken)
		}
	})
}

// The receipt comes before the answer to the submit, twice, and in another spelling.
func TestReceiptBeforeAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := smpptest.New(t, onSubmit(func(c *smpptest.Conn, p pdu.PDU) {
			for range 2 {
				c.Request(pdu.DeliverSM, &pdu.Message{ESMClass: 4, ShortMessage: []byte(receiptText)})
			}
			time.AfterFunc(time.Second, func() { c.Answer(p, pdu.StatusOK, &pdu.MessageResp{MessageID: "1A2B"}) })
		}))
		got := make(chan Receipt, 2)
		cfg := inMemory(s)
		cfg.Receipt = func(_ context.Context, r Receipt) error { got <- r; return nil }
		client := run(t, cfg).bound(t)
		ids, err := client.Submit(t.Context(), wake())
		if err != nil || len(got) != 2 {
			t.Fatalf("%q, %v, %d receipts", ids, err, len(got))
		}
		if r := <-got; !SameID(r.ID, ids[0]) {
			t.Errorf("%q, %q", r.ID, ids)
		}
	})
}

// A receipt that was begun when Run's context ends is answered before the unbind.
func TestStopWaitsForCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := smpptest.New(t, nil)
		began := make(chan struct{})
		cfg := inMemory(s)
		cfg.Receipt = func(ctx context.Context, _ Receipt) error {
			close(began)
			time.Sleep(2 * time.Second)
			return ctx.Err()
		}
		client := run(t, cfg).bound(t)
		conn := s.Bound()
		conn.Request(pdu.DeliverSM, &pdu.Message{ESMClass: 4, ShortMessage: []byte(receiptText)})
		<-began
		client.stop()
		if p := <-conn.Answers; p.Command != pdu.DeliverSM.Response() || p.Status != pdu.StatusOK {
			t.Errorf("%+v", p)
		}
	})
}

func FuzzParseReceipt(f *testing.F) {
	f.Add(receiptText)
	f.Add("ID:1A2B STAT:UNDELIV TEXT:")
	f.Add("id :1,submit_date:261127021429;stat: DELIVERED\r\ntext:id:2")
	f.Add("s_t a t:\xff\x00")
	f.Add("id:0 000")
	f.Fuzz(func(t *testing.T, text string) {
		r := parseReceipt(text)
		if r.Text != text || r.State > StateRejected {
			t.Fatalf("%+v", r)
		}
		for _, form := range IDForms(r.ID) {
			if !SameID(form, r.ID) {
				t.Fatalf("%q is no form of %q", form, r.ID)
			}
		}
	})
}
