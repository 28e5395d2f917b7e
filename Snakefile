# a file given by --configfile replaces the demo's; Snakemake alone would merge the two
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


module neuroenc:
    snakefile:
        "workflow/Snakefile"
    config:
        config


use rule * from neuroenc
