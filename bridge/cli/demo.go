package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"m2mbridge/bridge"
	"m2mbridge/bridge/fleet"
)

// Demo is `m2mbridge demo`.
type Demo struct {
	For  time.Duration `default:"0s" placeholder:"D" help:"End after this time. 0: at Ctrl-C."`
	Rate float64       `default:"1" placeholder:"R" help:"Uplinks per second of the whole fleet."`
	JSON bool          `name:"json" help:"Tell it in JSON, one object a line."`
}

// Help is the longer text of --help.
func (Demo) Help() string {
	return `It runs the bridge on an embedded store that is thrown away at the end, with six
simulated devices on HTTP and MQTT and one app, and tells what happens. Example:

  m2mbridge demo --for 30s --rate 5`
}

// demoFleet devices: half of them on HTTP, half on MQTT.
const demoFleet = 6

// Run plays until Ctrl-C, the end of the time, or nobody reads on; all are a
// success.
func (c *Demo) Run(env *Env) error {
	if c.Rate <= 0 {
		return Usagef("--rate must be above 0")
	}
	ctx, out, stop := env.whileRead()
	defer stop()
	if c.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.For)
		defer cancel()
	}
	data, err := os.MkdirTemp("", "m2mbridge-demo-")
	if err != nil {
		return fmt.Errorf("make a place for the demo's data: %w", err)
	}
	defer func() { _ = os.RemoveAll(data) }()
	cfg, err := demoConfig(data)
	if err != nil {
		return err
	}
	// What serve would log would drown the story; what goes wrong must not be missed.
	log := slog.New(newLogHandler(env.Stderr, slog.LevelError, "text"))
	b, err := bridge.Open(ctx, cfg, log)
	if ctx.Err() != nil && err != nil {
		return nil // it was told to end before it began
	}
	if err != nil {
		return fmt.Errorf("open bridge: %w", err)
	}
	d := &demo{bridge: b, key: cfg.AdminKey, rate: c.Rate, say: newNarrator(env, out, c.JSON), devices: fleet.Devices(cfg.AdminKey, 0, demoFleet)}
	return d.run(ctx)
}

// demoConfig is serve's, on the default ports where they are free.
func demoConfig(data string) (bridge.Config, error) {
	cfg, err := bridge.DefaultConfig()
	if err != nil {
		return cfg, fmt.Errorf("default settings: %w", err)
	}
	cfg.Data, cfg.AdminKey = data, rand.Text()
	for _, addr := range []*string{&cfg.HTTP, &cfg.API, &cfg.MQTT} {
		ln, err := net.Listen("tcp", *addr)
		if err != nil {
			*addr = "127.0.0.1:0"
			continue
		}
		_ = ln.Close()
	}
	return cfg, nil
}

// demo is one that is running.
type demo struct {
	bridge  *bridge.Bridge
	key     string
	rate    float64
	say     *narrator
	devices []fleet.Device
	app     demoApp
}

// run runs the bridge, and the story beside it. The bridge stops last.
func (d *demo) run(ctx context.Context) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var bridgeErr, storyErr error
	ended := make(chan struct{})
	telling, abort := context.WithCancel(ctx)
	defer abort()
	go func() {
		defer close(ended)
		defer abort() // no bridge, no story
		bridgeErr = d.bridge.Run(serving)
	}()
	storyErr = d.tell(telling)
	interrupted := telling.Err() != nil
	stop()
	<-ended
	if interrupted {
		storyErr = nil // whatever it was doing, it was told to end
	}
	if err := errors.Join(storyErr, bridgeErr); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	d.epilogue()
	return nil
}

// tell is the story from the first scene to the last; it returns when ctx ends.
func (d *demo) tell(ctx context.Context) error {
	d.prologue()
	if err := d.register(ctx); err != nil {
		return err
	}
	if err := d.app.connect(ctx, d.bridge.Addr("mqtt"), d.say); err != nil {
		return err
	}
	defer d.app.leave()
	d.say.line("app", "%q subscribes to uplinks/# over MQTT", demoAppName)
	fleets, fleetCtx := errgroup.WithContext(ctx)
	for _, via := range []fleet.Via{fleet.HTTP, fleet.MQTT} {
		fleets.Go(func() error { return d.send(fleetCtx, via) })
	}
	fleets.Go(func() error {
		if err := d.scenes(fleetCtx); err != nil && fleetCtx.Err() == nil {
			return err
		}
		return nil
	})
	return fleets.Wait()
}

// pause returns false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// register adds the devices and the app.
func (d *demo) register(ctx context.Context) error {
	api := fleet.API{URL: "http://" + d.bridge.Addr("api"), Key: d.key}
	if err := api.AddDevices(ctx, d.devices); err != nil {
		return err
	}
	key, err := api.AddApp(ctx, demoAppName, "uplink.read")
	d.app.key = key
	return err
}

// send lets one half of the fleet send until ctx ends.
func (d *demo) send(ctx context.Context, via fleet.Via) error {
	cfg := fleet.LoadConfig{Via: via, Rate: d.rate / 2, Pack: fleet.Varied}
	if cfg.Devices = d.devices[:demoFleet/2]; via == fleet.MQTT {
		cfg.Devices = d.devices[demoFleet/2:]
	}
	cfg.Addr = d.bridge.Addr(string(via))
	load, err := fleet.NewLoad(cfg)
	if err != nil {
		return err
	}
	report := load.Run(ctx)
	d.say.sent(via, report)
	return nil
}
