// A stand-in for providers that cannot be had where tests run: it serves the schema of the resources that the modules in
// deploy/terraform use, and nothing else. Its name says which: terraform-provider-aws serves schemas/aws.json. Plans and
// applied values come from `mock_provider` of `tofu test`; this one makes nothing.
package main

import (
	"context"
	"embed"
	"encoding/json"
	"log"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

//go:embed schemas/*.json
var schemas embed.FS

// Attributes are texts such as "string!" (required), "string?" (optional) and "string=" (computed); a list with one mapping
// is a block.
type block map[string]any

type described struct {
	Provider  block            `json:"provider"`
	Resources map[string]block `json:"resources"`
	Data      map[string]block `json:"data"`
}

var types = map[string]tftypes.Type{
	"string":  tftypes.String,
	"number":  tftypes.Number,
	"bool":    tftypes.Bool,
	"any":     tftypes.DynamicPseudoType,
	"strings": tftypes.List{ElementType: tftypes.String},
	"map":     tftypes.Map{ElementType: tftypes.String},
}

func schemaOf(description block) *tfprotov6.SchemaBlock {
	made := &tfprotov6.SchemaBlock{}
	names := make([]string, 0, len(description))
	for name := range description {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		switch what := description[name].(type) {
		case string:
			kind := what[:len(what)-1]
			made.Attributes = append(made.Attributes, &tfprotov6.SchemaAttribute{
				Name:     name,
				Type:     types[kind],
				Required: strings.HasSuffix(what, "!"),
				Optional: strings.HasSuffix(what, "?"),
				Computed: strings.HasSuffix(what, "="),
			})
		case []any:
			inner := block(what[0].(map[string]any))
			made.BlockTypes = append(made.BlockTypes, &tfprotov6.SchemaNestedBlock{
				TypeName: name,
				Block:    schemaOf(inner),
				Nesting:  tfprotov6.SchemaNestedBlockNestingModeList,
			})
		case map[string]any:
			made.Attributes = append(made.Attributes, &tfprotov6.SchemaAttribute{
				Name: name, Optional: true, Type: tftypes.DynamicPseudoType,
			})
		}
	}
	return made
}

type server struct {
	tfprotov6.ProviderServer // what no test asks for is not implemented
	schema                   *tfprotov6.GetProviderSchemaResponse
}

func (s server) GetMetadata(context.Context, *tfprotov6.GetMetadataRequest) (*tfprotov6.GetMetadataResponse, error) {
	return &tfprotov6.GetMetadataResponse{}, nil
}

func (s server) GetProviderSchema(context.Context, *tfprotov6.GetProviderSchemaRequest) (*tfprotov6.GetProviderSchemaResponse, error) {
	return s.schema, nil
}

func (s server) ValidateProviderConfig(_ context.Context, asked *tfprotov6.ValidateProviderConfigRequest) (*tfprotov6.ValidateProviderConfigResponse, error) {
	return &tfprotov6.ValidateProviderConfigResponse{PreparedConfig: asked.Config}, nil
}

func (s server) ValidateResourceConfig(context.Context, *tfprotov6.ValidateResourceConfigRequest) (*tfprotov6.ValidateResourceConfigResponse, error) {
	return &tfprotov6.ValidateResourceConfigResponse{}, nil
}

func (s server) ValidateDataResourceConfig(context.Context, *tfprotov6.ValidateDataResourceConfigRequest) (*tfprotov6.ValidateDataResourceConfigResponse, error) {
	return &tfprotov6.ValidateDataResourceConfigResponse{}, nil
}

// What the mocks have applied is read back as it is, when a test ends.
func (s server) UpgradeResourceState(_ context.Context, asked *tfprotov6.UpgradeResourceStateRequest) (*tfprotov6.UpgradeResourceStateResponse, error) {
	return &tfprotov6.UpgradeResourceStateResponse{UpgradedState: &tfprotov6.DynamicValue{JSON: asked.RawState.JSON}}, nil
}

func (s server) StopProvider(context.Context, *tfprotov6.StopProviderRequest) (*tfprotov6.StopProviderResponse, error) {
	return &tfprotov6.StopProviderResponse{}, nil
}

func main() {
	name := strings.TrimPrefix(filepath.Base(os.Args[0]), "terraform-provider-")
	text, err := schemas.ReadFile("schemas/" + name + ".json")
	if err != nil {
		log.Fatal(err)
	}
	var read described
	if err := json.Unmarshal(text, &read); err != nil {
		log.Fatal(err)
	}
	schema := &tfprotov6.GetProviderSchemaResponse{
		Provider:          &tfprotov6.Schema{Block: schemaOf(read.Provider)},
		ResourceSchemas:   map[string]*tfprotov6.Schema{},
		DataSourceSchemas: map[string]*tfprotov6.Schema{},
	}
	for resource, description := range read.Resources {
		schema.ResourceSchemas[resource] = &tfprotov6.Schema{Block: schemaOf(description)}
	}
	for source, description := range read.Data {
		schema.DataSourceSchemas[source] = &tfprotov6.Schema{Block: schemaOf(description)}
	}
	err = tf6server.Serve("midwatch/stand-in/"+name, func() tfprotov6.ProviderServer { return server{schema: schema} })
	if err != nil {
		log.Fatal(err)
	}
}
