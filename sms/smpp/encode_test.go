package smpp

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"m2mbridge/sms/smpp/gsm7"
	"m2mbridge/sms/smpp/pdu"
)

func address(ton, npi byte, value string) Address { return Address{TON: ton, NPI: npi, Value: value} }

func encoder(t testing.TB, change func(*Config)) *Client {
	t.Helper()
	cfg := Config{Addr: "smsc.test:2775", SystemID: "m2m"}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAddresses(t *testing.T) {
	for source, want := range map[string]Address{
		"5277":          address(3, 0, "5277"),
		"123456":        address(3, 0, "123456"),
		"31612345678":   address(1, 1, "31612345678"),
		"+31612345678":  address(1, 1, "31612345678"),
		"+5277":         address(1, 1, "5277"),
		"0612345678":    address(0, 1, "0612345678"),
		"KPN Things":    address(5, 0, "KPN Things"),
		"":              address(0, 0, ""),
		"ElevenChars":   address(5, 0, "ElevenChars"),
		"3161234567890": address(1, 1, "3161234567890"),
	} {
		if got, err := sourceAddress(source); err != nil || got != want {
			t.Errorf("%q: %+v, %v", source, got, err)
		}
	}
	for _, source := range []string{"TwelveLetter", "Café", "a\nb", "1234567890123456", "TenWith{}[]"} {
		if got, err := sourceAddress(source); err == nil {
			t.Errorf("%q: %+v", source, got)
		}
	}
	c := encoder(t, func(c *Config) { c.SourceType, c.DestinationType = &AddressType{0, 1}, &AddressType{2, 8} })
	m := wake()
	m.DestinationType = &AddressType{1, 1}
	parts, err := c.encode(m)
	if err != nil || parts[0].Source != (address(0, 1, "5277")) || parts[0].Destination != (address(1, 1, "31612345678")) {
		t.Errorf("%+v, %v", parts, err)
	}
}

func TestValidityPeriod(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "", time.Minute: "000000000100000R", 48 * time.Hour: "000002000000000R", time.Millisecond: "000000000001000R",
		45*time.Hour + 5*time.Minute: "000001210500000R", 30 * 24 * time.Hour: "000030000000000R",
	} {
		if got, err := relative(d); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", d, got, err, want)
		}
	}
}

func TestRequested(t *testing.T) {
	m := wake()
	m.RegisteredDelivery, m.Intermediate, m.UserMessageReference, m.ValidityPeriod = true, true, 513, time.Minute
	parts, err := encoder(t, func(c *Config) { c.ServiceType = "CMT" }).encode(m)
	if err != nil || len(parts) != 1 {
		t.Fatal(parts, err)
	}
	want := pdu.Message{ServiceType: "CMT", Source: address(3, 0, "5277"), Destination: address(1, 1, "31612345678"), RegisteredDelivery: 0x11,
		ValidityPeriod: "000000000100000R", ShortMessage: []byte("wake up"), TLVs: pdu.TLVs{pdu.Uint16(pdu.TagUserMessageReference, 513)}}
	if got := *parts[0]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestTextAndParts(t *testing.T) {
	a := strings.Repeat
	for name, c := range map[string]struct {
		alphabet Alphabet
		text     string
		coding   byte
		lengths  []int // octets of each short_message
	}{
		"Empty160":         {GSM7, a("a", 160), 0, []int{160}},
		"161":              {GSM7, a("a", 161), 0, []int{159, 14}},
		"306":              {GSM7, a("a", 306), 0, []int{159, 159}},
		"307":              {GSM7, a("a", 307), 0, []int{159, 159, 7}},
		"Escapes80":        {GSM7, a("{", 80), 0, []int{160}},
		"Escapes81":        {GSM7, a("{", 81), 0, []int{158, 16}},
		"EscapeAtTheEdge":  {GSM7, a("a", 152) + a("€", 10), 0, []int{158, 26}},
		"UCS2":             {GSM7, a("я", 70), 8, []int{140}},
		"UCS2Long":         {GSM7, a("я", 71), 8, []int{140, 14}},
		"SurrogateAtEdge":  {GSM7, a("я", 66) + a("😀", 5), 8, []int{138, 26}},
		"OneNotInAlphabet": {GSM7, "ç", 8, []int{2}},
		"Packed160":        {GSM7Packed, a("a", 160), 0, []int{140}},
		"Packed161":        {GSM7Packed, a("a", 161), 0, []int{140, 14}},
		"Latin1":           {Latin1, "{é}", 0, []int{3}},
		"Latin1Escapes81":  {Latin1, a("{", 81), 0, []int{82, 11}},
		"Latin1Euro":       {Latin1, "€", 8, []int{2}},
		"Latin1Cedilla":    {Latin1, "ç", 8, []int{2}},
		"ASCII":            {ASCII, "[{}]$@", 0, []int{6}},
		"ASCIIAccent":      {ASCII, "é", 8, []int{2}},
		"ASCIIBackquote":   {ASCII, "`", 8, []int{2}},
	} {
		t.Run(name, func(t *testing.T) {
			client := encoder(t, func(cfg *Config) { cfg.Alphabet = c.alphabet })
			m := wake()
			m.Text = c.text
			parts, err := client.encode(m)
			if err != nil {
				t.Fatal(err)
			}
			var lengths []int
			var text strings.Builder
			for i, p := range parts {
				lengths = append(lengths, len(p.ShortMessage))
				if p.DataCoding != c.coding {
					t.Errorf("data_coding %d", p.DataCoding)
				}
				in := newIncoming(pdu.PDU{Body: p}).message(c.alphabet)
				var want Part
				if len(parts) > 1 {
					want = Part{uint16(parts[0].ShortMessage[3]), byte(i + 1), byte(len(parts))}
				}
				if in.Part != want {
					t.Errorf("part %+v, want %+v", in.Part, want)
				}
				text.WriteString(in.Text)
			}
			if !slices.Equal(lengths, c.lengths) {
				t.Errorf("octets %v, want %v", lengths, c.lengths)
			}
			if text.String() != c.text {
				t.Errorf("%q", text.String())
			}
		})
	}
}

func TestForms(t *testing.T) {
	m := wake()
	m.Text = strings.Repeat("{", 200)
	m.UserMessageReference = 9
	t.Run("SAR", func(t *testing.T) {
		parts, err := encoder(t, func(c *Config) { c.Long = SAR }).encode(m)
		if err != nil || len(parts) != 3 {
			t.Fatal(len(parts), err)
		}
		for i, p := range parts {
			in := newIncoming(pdu.PDU{Body: p})
			if got := in.part(); got.Number != byte(i+1) || got.Of != 3 || p.ESMClass != 0 || len(p.TLVs) != 4 {
				t.Errorf("%+v", p)
			}
		}
	})
	t.Run("Payload", func(t *testing.T) {
		c := encoder(t, func(c *Config) { c.Long = Payload })
		parts, err := c.encode(m)
		if err != nil || len(parts) != 1 || len(parts[0].ShortMessage) != 0 {
			t.Fatal(len(parts), err)
		}
		if v, _ := parts[0].TLVs.Octets(pdu.TagMessagePayload); !bytes.Equal(v, bytes.Repeat([]byte{gsm7.Escape, 0x28}, 200)) {
			t.Errorf("%x", v)
		}
		short := wake()
		if parts, err = c.encode(short); err != nil || string(parts[0].ShortMessage) != short.Text {
			t.Errorf("%+v, %v", parts, err)
		}
		short.Text, short.Data = "", make([]byte, maxPayload+1)
		if _, err = c.encode(short); err == nil {
			t.Error("too long")
		}
	})
	t.Run("255Parts", func(t *testing.T) {
		m := wake()
		m.Text, m.Data = "", make([]byte, 255*partOctets)
		parts, err := encoder(t, nil).encode(m)
		if err != nil || len(parts) != 255 || parts[254].ShortMessage[5] != 255 || parts[0].DataCoding != 4 {
			t.Errorf("%d, %v", len(parts), err)
		}
	})
}

// The whole PDU of a wake-up, as it is on the wire, worked out by hand from SMPP 3.4 §4.4.1.
func TestWire(t *testing.T) {
	m := wake()
	m.Text = "{}"
	m.RegisteredDelivery = true
	parts, err := encoder(t, nil).encode(m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := pdu.PDU{Command: pdu.SubmitSM, Sequence: 2, Body: parts[0]}.Append(nil)
	want := "00000034" + "00000004" + "00000000" + "00000002" + "00" + "0300" + "3532373700" + "0101" + "333136313233343536373800" +
		"00" + "00" + "00" + "00" + "00" + "01" + "00" + "00" + "00" + "04" + "1b281b29"
	if got := hex.EncodeToString(b); err != nil || got != want {
		t.Errorf("%s, %v\n%s", got, err, want)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"NoPort":      func(c *Config) { c.Addr = "smsc.test" },
		"NoSystemID":  func(c *Config) { c.SystemID = "" },
		"Password":    func(c *Config) { c.Password = strings.Repeat("p", 65) },
		"SystemType":  func(c *Config) { c.SystemType = "ThirteenChars" },
		"ServiceType": func(c *Config) { c.ServiceType = "SIXSIX" },
		"Window":      func(c *Config) { c.Window = -1 },
		"MaxPDU":      func(c *Config) { c.MaxPDU = 16 },
		"Negative":    func(c *Config) { c.EnquireLink = -1 },
		"MaxBelow":    func(c *Config) { c.Backoff = time.Hour },
		"Alphabet":    func(c *Config) { c.Alphabet = 9 },
		"Long":        func(c *Config) { c.Long = 9 },
	} {
		cfg := Config{Addr: "smsc.test:2775", SystemID: "m2m"}
		change(&cfg)
		if _, err := New(cfg); err == nil || strings.Contains(err.Error(), "pppp") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClasses(t *testing.T) {
	for name, want := range map[string]Class{
		"ESME_RTHROTTLED": Throttled, "ESME_RMSGQFUL": Temporary, "ESME_RINVPASWD": Temporary, "ESME_RINVDSTADR": Permanent, "ESME_RSYSERR": Temporary,
		"ESME_RSUBMITFAIL": Temporary, "ESME_RX_R_APPN": Permanent, "ESME_RX_T_APPN": Temporary, "ESME_RINVMSGLEN": Permanent,
	} {
		s, ok := ParseStatus(name)
		if got := Classes()[s]; !ok || got != want || ClassOf(s) != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if ClassOf(0x400) != Temporary {
		t.Error("a vendor's own")
	}
}

// FuzzText cuts any text, in any alphabet and form, and puts it together again.
func FuzzText(f *testing.F) {
	f.Add(strings.Repeat("a", 152)+"€€", byte(0), byte(0))
	f.Add(strings.Repeat("я", 66)+"😀", byte(0), byte(1))
	f.Add(strings.Repeat("{", 81), byte(2), byte(2))
	f.Add(`[{"bn":"IMEI:356726104408422:","n":"x","vs":"é"}]`, byte(3), byte(0))
	f.Fuzz(func(t *testing.T, text string, alphabet, form byte) {
		client := encoder(t, func(c *Config) { c.Alphabet, c.Long = Alphabet(alphabet%4), Long(form%3) })
		m := wake()
		m.Text = text
		parts, err := client.encode(m)
		if err != nil {
			if text != "" && utf8.ValidString(text) && len(text) < 67*maxParts {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		var back strings.Builder
		for _, p := range parts {
			in := newIncoming(pdu.PDU{Body: p}).message(client.cfg.Alphabet)
			if !utf8.ValidString(in.Text) || strings.ContainsRune(in.Text, utf8.RuneError) && !strings.ContainsRune(text, utf8.RuneError) {
				t.Fatalf("a character was cut through: %q", in.Text)
			}
			if len(p.ShortMessage) > 160 {
				t.Fatalf("%d octets", len(p.ShortMessage))
			}
			back.WriteString(in.Text)
		}
		// Packed, a carriage return at the end of a part may be taken for filling, and '@' come of what is left over.
		if got := back.String(); got != text && client.cfg.Alphabet != GSM7Packed {
			t.Fatalf("%q came back as %q", text, got)
		}
	})
}
