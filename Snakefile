configfile: "config/config.yaml"


module neuroenc:
    snakefile:
        "workflow/Snakefile"
    config:
        config


use rule * from neuroenc
