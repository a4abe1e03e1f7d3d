package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"

	"m2mbridge/bridge"
	"m2mbridge/bridge/doctor"
)

// Doctor is `m2mbridge doctor`. Its settings are serve's, so that the same
// variables and file do for both.
type Doctor struct {
	Redis      string `name:"redis" env:"M2M_REDIS" default:"embedded" placeholder:"URL" group:"Store" help:"The bridge's Redis, as serve has it; embedded: the redis-server of a serve that runs."`
	Data       string `name:"data" env:"M2M_DATA" placeholder:"DIR" group:"Store" help:"Directory of the embedded redis-server. Empty: $XDG_DATA_HOME/m2mbridge, else ~/.local/share/m2mbridge."`
	Partitions int    `name:"partitions" env:"M2M_PARTITIONS" default:"0" group:"Store" help:"As serve has it, to see whether Redis agrees. 0: what Redis says."`
	SecretKey  string `name:"secret-key" env:"M2M_SECRET_KEY" secret:"" placeholder:"KEY" group:"Store" help:"As serve has it, to see whether it is the right one. Empty: that is not checked."`

	UplinksMax int64 `name:"uplinks-max" env:"M2M_UPLINKS_MAX" default:"1000000" group:"Streams" help:"As serve has it: entries kept in each partition's stream of uplinks, about. 0: no limit."`
	RejectsMax int64 `name:"rejects-max" env:"M2M_REJECTS_MAX" default:"10000" group:"Streams" help:"As serve has it: entries kept in each partition's stream of rejects, about. 0: rejects are not kept."`
	EventsMax  int64 `name:"events-max" env:"M2M_EVENTS_MAX" default:"100000" group:"Streams" help:"As serve has it: entries kept in each partition's stream of events, about. 0: no limit."`

	HTTP      string `name:"http" env:"M2M_HTTP" default:"127.0.0.1:8080" placeholder:"ADDR" group:"Listeners" help:"Address of devices' HTTP; off: there is none to ask."`
	API       string `name:"api" env:"M2M_API" default:"127.0.0.1:8081" placeholder:"ADDR" group:"Listeners" help:"Address of the API; off: there is none to ask."`
	MQTT      string `name:"mqtt" env:"M2M_MQTT" default:"127.0.0.1:1883" placeholder:"ADDR" group:"Listeners" help:"Address of MQTT over TCP; off: there is none to ask."`
	MQTTTLS   string `name:"mqtt-tls" env:"M2M_MQTT_TLS" placeholder:"ADDR" group:"Listeners" help:"Address of MQTT over TLS. Empty: there is none to ask."`
	MQTTWS    string `name:"mqtt-ws" env:"M2M_MQTT_WS" placeholder:"ADDR" group:"Listeners" help:"Address of MQTT over WebSocket. Empty: there is none to ask."`
	Listeners bool   `negatable:"" default:"true" group:"Listeners" help:"Ask the listeners of a running bridge."`

	Fix  bool `help:"Mend what can be mended safely. Settings of Redis are never changed: the command that would is shown."`
	JSON bool `name:"json" help:"Print JSON, one object a line, for other programs."`
}

// Help is the longer text of --help.
func (Doctor) Help() string {
	return `It looks at Redis, its settings and its clock, at the listeners of a bridge that
runs, and at all that is kept of devices, apps and downlinks, which takes a while
where they are many; the bridge goes on meanwhile. What it finds is ok, a warning,
or a FAULT; without --fix nothing is changed. Exit code: 0 no fault, 1 a fault that
remains. Examples, of the bridge on this machine, and of a Redis alone:

  m2mbridge doctor
  m2mbridge doctor --redis redis://127.0.0.1:6379/0 --no-listeners --fix`
}

// Run makes the checks and prints each as it is made.
func (c *Doctor) Run(env *Env) error {
	if err := c.check(env); err != nil {
		return err
	}
	bar := &doctorBar{}
	if isTerminal(env.Stderr) {
		bar.w = env.Stderr
	}
	out := &findings{w: env.Stdout, json: c.JSON, bar: bar}
	err := doctor.Run(env.Ctx, doctor.Config{
		Redis: c.Redis, Data: c.Data, Partitions: c.Partitions, Claimed: bridge.ClaimedPartitions, SecretKey: c.SecretKey,
		UplinksMax: c.UplinksMax, RejectsMax: c.RejectsMax, EventsMax: c.EventsMax,
		Listeners: c.listeners(), Fix: c.Fix, Tell: out.tell, Progress: bar.show, Log: slog.New(slog.DiscardHandler),
	})
	bar.clear()
	switch {
	case err != nil || out.err != nil:
		return errors.Join(err, out.err)
	case out.faults == 1:
		return errors.New("a fault remains")
	case out.faults > 0:
		return fmt.Errorf("%d faults remain", out.faults)
	}
	return nil
}

// check has serve judge the settings that are its own.
func (c *Doctor) check(env *Env) error {
	s, err := bridge.DefaultConfig()
	if err != nil {
		return err
	}
	s.Redis, s.HTTP, s.API, s.MQTT, s.MQTTWS = c.Redis, c.HTTP, c.API, c.MQTT, c.MQTTWS
	s.UplinksMax, s.RejectsMax, s.EventsMax = c.UplinksMax, c.RejectsMax, c.EventsMax
	if c.Partitions != 0 {
		s.Partitions = c.Partitions
	}
	if bridge.Off(c.HTTP) && bridge.Off(c.API) && bridge.Off(c.MQTT) && bridge.Off(c.MQTTWS) {
		s.HTTP = "127.0.0.1:0" // serve needs one; who only looks does not
	}
	if !bridge.Off(c.MQTTTLS) {
		if _, _, err := net.SplitHostPort(c.MQTTTLS); err != nil {
			return Usagef("--mqtt-tls: %q is no host:port", c.MQTTTLS)
		}
	}
	return checked(env.Call, s.Validate())
}

func (c *Doctor) listeners() (all []doctor.Listener) {
	if !c.Listeners {
		return nil
	}
	for _, l := range []doctor.Listener{
		{Protocol: doctor.DeviceHTTP, Addr: c.HTTP}, {Protocol: doctor.API, Addr: c.API}, {Protocol: doctor.MQTT, Addr: c.MQTT},
		{Protocol: doctor.MQTTTLS, Addr: c.MQTTTLS}, {Protocol: doctor.MQTTWS, Addr: c.MQTTWS},
	} {
		if !bridge.Off(l.Addr) {
			all = append(all, l)
		}
	}
	return all
}

// findings prints them, and counts the faults.
type findings struct {
	w      io.Writer
	json   bool
	bar    *doctorBar
	faults int
	err    error // of the writes before
}

func (f *findings) tell(is doctor.Finding) {
	f.bar.clear()
	if is.Level == doctor.Fault {
		f.faults++
	}
	var err error
	if f.json {
		err = json.NewEncoder(f.w).Encode(is)
	} else {
		_, err = io.WriteString(f.w, lineOfFinding(is))
	}
	f.err = errors.Join(f.err, err)
}

// lineOfFinding is a line for people, and what they have to do below it.
func lineOfFinding(is doctor.Finding) string {
	level := string(is.Level)
	if is.Level == doctor.Fault {
		level = strings.ToUpper(level)
	}
	found := is.Found
	if is.Node != "" {
		found = is.Node + ": " + found
	}
	if is.Mended > 0 && is.Level == doctor.Fault {
		found += fmt.Sprintf(" (%d others were mended)", is.Mended)
	}
	text := fmt.Sprintf("%-5s  %-11s  %s\n", level, is.Name, printable(found))
	if is.Must != "" {
		text += fmt.Sprintf("%20s-> %s\n", "", printable(is.Must))
	}
	return text
}

// doctorBar is a line on a terminal that says how far a long check is.
type doctorBar struct {
	w     io.Writer // nil: there is no terminal
	shown bool
}

func (b *doctorBar) show(what string, n int) {
	if b.w == nil {
		return
	}
	b.shown = true
	if n == 0 {
		fmt.Fprintf(b.w, "\r\x1b[Kchecking %s", what)
		return
	}
	fmt.Fprintf(b.w, "\r\x1b[Kchecking %s: %d entries", what, n)
}

// clear takes the line away, so that others can be written.
func (b *doctorBar) clear() {
	if b.shown {
		fmt.Fprint(b.w, "\r\x1b[K")
		b.shown = false
	}
}
