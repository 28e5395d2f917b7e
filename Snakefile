# a file given by --configfile replaces the demo's; Snakemake alone would merge the two
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


module neuroenc:
    snakefile:
        # a configuration with `sets` is of several sets of recordings
        "workflow/joint.smk" if "sets" in config else "workflow/Snakefile"
    config:
        config


use rule * from neuroenc
