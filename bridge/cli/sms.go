package cli

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"m2mbridge/bridge/api"
)

// SMS is `m2mbridge sms`.
type SMS struct {
	Plan   SMSPlan   `cmd:"" help:"Show when an SMS is tried, and which attempts a device that sleeps hears."`
	Add    SMSAdd    `cmd:"" help:"Send an SMS to a device."`
	Get    SMSGet    `cmd:"" help:"Show an SMS: each attempt, what became of it, and when the next is due."`
	List   SMSList   `cmd:"" help:"List SMS, the newest first."`
	Cancel SMSCancel `cmd:"" help:"Cancel an SMS that is not being submitted."`
}

// smsPath is where the API has SMS.
const smsPath = "/v1/sms"

// SMSAdd is `m2mbridge sms add`.
type SMSAdd struct {
	apiFlags
	Device    string        `arg:"" help:"Device id."`
	Text      string        `arg:"" optional:"" help:"What to send: text; or give --data or --pack."`
	Data      string        `placeholder:"HEX|@FILE" help:"Send octets, in hex, or those of a file."`
	Pack      string        `placeholder:"FILE" help:"Send the SenML pack of this file; - is standard input."`
	TTL       time.Duration `name:"ttl" default:"0s" help:"How long it may wait. 0: until the bridge's schedule is over."`
	NotBefore string        `placeholder:"INSTANT|DURATION" help:"It goes at this instant (RFC 3339) at the earliest, or after so long, such as 10m."`
	Priority  int           `default:"5" help:"0 to 9: of a device's downlinks those of the highest go first."`
	Ack       bool          `help:"It has succeeded when the device sends a record named downlinkAck with its id; with --pack only."`
	KeyID     string        `name:"key-id" placeholder:"TEXT" help:"Idempotency key: a second add with it makes no second SMS."`
}

// Help is the longer text of --help.
func (SMSAdd) Help() string {
	return `It prints the id of the SMS and its state. It is tried again by the bridge's
schedule until a receipt says that the device has it. Examples:

  m2mbridge sms add IMEI:356726104408422 reboot
  m2mbridge sms add IMEI:356726104408422 --data 0a1f00 --ttl 2h
  m2mbridge sms add IMEI:356726104408422 --pack - --ack < pack.json`
}

// Run creates the SMS.
func (c *SMSAdd) Run(env *Env) error {
	in, err := c.input(env.Stdin, time.Now())
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	return c.addDownlink(env, client, smsPath, in)
}

func (c *SMSAdd) input(stdin io.Reader, now time.Time) (*api.DownlinkInput, error) {
	given := 0
	for _, one := range []string{c.Text, c.Data, c.Pack} {
		if one != "" {
			given++
		}
	}
	if given != 1 {
		return nil, Usagef("give one of a text, --data and --pack: it is what is sent")
	}
	in := &api.DownlinkInput{Device: c.Device, Text: c.Text, Priority: &c.Priority, IdempotencyKey: c.KeyID, Ack: c.Ack}
	if c.TTL != 0 {
		in.TTL = c.TTL.String()
	}
	var err error
	if in.NotBefore, err = earliest(c.NotBefore, now); err != nil {
		return nil, err
	}
	switch {
	case c.Data != "":
		in.Data, err = octets(c.Data)
	case c.Pack != "":
		in.Pack, err = readPack(c.Pack, stdin)
	}
	return in, err
}

// octets are those of hex digits, which may be parted by blanks or colons, or of a
// file.
func octets(text string) ([]byte, error) {
	if name, ok := strings.CutPrefix(text, "@"); ok {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read data: %w", err)
		}
		defer func() { _ = f.Close() }()
		data, err := io.ReadAll(io.LimitReader(f, maxPackFile+1))
		if err != nil {
			return nil, fmt.Errorf("read data: %w", err)
		}
		if len(data) == 0 || len(data) > maxPackFile {
			return nil, Usagef("--data %s: it has not 1 to %d bytes", text, maxPackFile)
		}
		return data, nil
	}
	data, err := hex.DecodeString(strings.NewReplacer(" ", "", ":", "").Replace(text))
	if err != nil || len(data) == 0 {
		return nil, Usagef("--data %q is neither hex such as 0a1f00 nor @FILE", text)
	}
	return data, nil
}

// SMSGet is `m2mbridge sms get`.
type SMSGet struct {
	apiFlags
	ID string `arg:"" help:"Id of the SMS."`
}

// Help is the longer text of --help.
func (SMSGet) Help() string {
	return `Example:

  m2mbridge sms get 0-mih6f3x9wq7f2m4c6s8t2`
}

// Run shows the SMS.
func (c *SMSGet) Run(env *Env) error { return c.getDownlink(env, smsPath, c.ID) }

// SMSList is `m2mbridge sms list`.
type SMSList struct {
	apiFlags
	Device string   `placeholder:"ID" help:"Only this device's."`
	State  []string `enum:"QUEUED,EXECUTING,SUCCEEDED,FAILED,EXPIRED,CANCELLED" placeholder:"QUEUED,EXECUTING,…" help:"Only those in one of these states."`
	Limit  int      `default:"0" placeholder:"N" help:"How many to list at most. 0: all."`
}

// Help is the longer text of --help.
func (SMSList) Help() string {
	return `Example, what is under way to a device:

  m2mbridge sms list --device IMEI:356726104408422 --state QUEUED,EXECUTING`
}

// Run lists SMS, the newest first.
func (c *SMSList) Run(env *Env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	t := newTable(env.Stdout, "no SMS", "ID", "DEVICE", "STATE", "ATTEMPTS", "CREATED", "WHY")
	query := queryOf("device", c.Device, "state", strings.Join(c.State, ","))
	err = client.list(env.Ctx, smsPath, query, c.Limit, func(item json.RawMessage) error {
		if c.JSON {
			return printJSON(env.Stdout, item, nil)
		}
		var d api.Downlink
		if err := json.Unmarshal(item, &d); err != nil {
			return fmt.Errorf("read SMS: %w", err)
		}
		return t.row(d.ID, d.Device, string(d.State), fmt.Sprint(d.Attempts), second(d.CreatedAt), cmp.Or(d.Reason, d.Cause))
	})
	if err != nil || c.JSON {
		return err
	}
	return t.end()
}

// SMSCancel is `m2mbridge sms cancel`.
type SMSCancel struct {
	apiFlags
	ID string `arg:"" help:"Id of the SMS."`
}

// Help is the longer text of --help.
func (SMSCancel) Help() string {
	return `One that was accepted may arrive all the same. Example:

  m2mbridge sms cancel 0-mih6f3x9wq7f2m4c6s8t2`
}

// Run cancels the SMS.
func (c *SMSCancel) Run(env *Env) error { return c.cancelDownlink(env, smsPath, c.ID) }
